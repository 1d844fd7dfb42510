"""Backpropagation with ordinary mistakes that can be switched on, alone or together: material for a diagnosis.

Written for itself: examples are columns, and each layer is a turn of a loop. It shares no code with an implementation,
and `wrong_code()` without a mistake is correct.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, cast

import numpy as np
from known_mistakes import MEANINGS, MISTAKES, STEP_MISTAKES
from scipy.special import expit

from impls.interface import Array, Batch, Implementation, Parameters


class WrongCode(Implementation):
    """Backpropagation on columns with mistakes in what `gradients` returns."""

    mistakes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, sizes: Any, batch_size: int, dtype: Any = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        rng = np.random.default_rng(1)
        self.own_weights = [rng.standard_normal(W.shape).astype(self.dtype) for W in self.weights]
        self.own_biases = [rng.standard_normal(b.shape).astype(self.dtype) for b in self.biases]

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = self.backprop(batch)
        return self.returned(dW, db)

    def backprop(
        self, batch: Batch, update: Callable[[int, Array, Array], None] | None = None
    ) -> tuple[list[Array], list[Array]]:
        """Return dW (n_out, n_in) and db (n_out,) of all layers; `update` is called with each layer's on the way."""
        weights = self.own_weights if "own-weights" in self.mistakes else self.weights
        x, y = self.columns(batch)  # (n_0, B), (n_L, B)
        zs, activations = self.forward(x)
        dW: list[Array] = []
        db: list[Array] = []
        error = self.error(activations[-1], y) * self.scale(len(batch.x))  # (n_L, B)
        for layer in range(len(weights) - 1, -1, -1):
            delta = error * self.slope(layer, zs[layer])  # (n_out, B)
            z_for_a = "z-for-a" in self.mistakes and layer > 0
            inputs = zs[layer - 1] if z_for_a else activations[layer]  # (n_in, B)
            dW.insert(0, delta @ inputs.T + self.decay() * weights[layer])
            db.insert(0, self.bias_gradient(delta))
            if update is not None:
                update(layer, dW[0], db[0])
            error = self.back(weights[layer], error if "error-back" in self.mistakes else delta)  # (n_in, B)
        return dW, db

    def columns(self, batch: Batch) -> tuple[Array, Array]:
        x, y = batch.x.T, batch.y.T
        if "columns-for-rows" in self.mistakes:
            x, y = batch.x.reshape(x.shape), batch.y.reshape(y.shape)
        if "first-example-only" in self.mistakes:
            x, y = x[:, :1], y[:, :1]
        if "last-example-missing" in self.mistakes:
            x, y = x[:, :-1], y[:, :-1]
        return x, y

    def forward(self, x: Array) -> tuple[list[Array], list[Array]]:
        """Return z of all layers of weights, and the activations with `x` as the first."""
        own = "own-weights" in self.mistakes
        weights, biases = (self.own_weights, self.own_biases) if own else (self.weights, self.biases)
        zs: list[Array] = []
        activations = [x]
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            z = W @ activations[-1]  # (n_out, B)
            if "bias-forgotten" not in self.mistakes:
                z = z + b[:, np.newaxis]
            zs.append(z)
            activations.append(self.activation(layer, z))
        return zs, activations

    def activation(self, layer: int, z: Array) -> Array:
        kind = self.kind(layer)
        if kind == "softmax":
            e = np.exp(z - z.max(axis=0))
            return e / e.sum(axis=0)  # type: ignore[no-any-return]
        if kind == "linear":
            return z
        if kind == "relu":
            return np.maximum(z, 0)
        if kind == "tanh":
            return np.tanh(z)
        return sigmoid(z)

    def slope(self, layer: int, z: Array) -> Array:
        """Return the derivative of the activation function."""
        last = layer == len(self.weights) - 1
        if ("slope-missing-output" if last else "slope-missing-hidden") in self.mistakes:
            return np.ones_like(z)
        kind = self.kind(layer)
        if kind in ("softmax", "linear"):
            return np.ones_like(z)
        if "slope-of-a" in self.mistakes:
            z = self.activation(layer, z)
        if kind == "relu":
            return (z > 0).astype(z.dtype)
        if kind == "tanh":
            return 1 - np.tanh(z) ** 2
        return sigmoid(z) * (1 - sigmoid(z))  # type: ignore[no-any-return]

    def kind(self, layer: int) -> str:
        """Return the name of a layer's activation function."""
        last = layer == len(self.weights) - 1
        names = ("output-softmax", "output-linear") if last else ("hidden-relu", "hidden-tanh")
        return next((name.partition("-")[2] for name in names if name in self.mistakes), "sigmoid")

    def error(self, a: Array, y: Array) -> Array:
        return y - a if "sign" in self.mistakes else a - y

    def scale(self, examples: int) -> float:
        """Return what each example's error is multiplied with."""
        count = 1 if "first-example-only" in self.mistakes else examples
        scale = 1.0 if "sum-not-mean" in self.mistakes else 1.0 / count
        if "mean-twice" in self.mistakes:
            scale /= count
        if "half-missing" in self.mistakes:
            scale *= 2.0
        if "outputs-mean" in self.mistakes:
            scale /= self.sizes[-1]
        return scale

    def decay(self) -> float:
        return 0.01 if "regularized" in self.mistakes else 0.0

    def bias_gradient(self, delta: Array) -> Array:
        if "bias-gradient-zero" in self.mistakes:
            return np.zeros(len(delta), delta.dtype)
        if "bias-summed-to-one" in self.mistakes:
            return np.full(len(delta), delta.sum())
        return delta.sum(axis=0 if "wrong-axis" in self.mistakes else 1)  # type: ignore[no-any-return]

    def back(self, W: Array, delta: Array) -> Array:  # noqa: N803
        square = W.shape[0] == W.shape[1]
        return W @ delta if square and "transposed-back" in self.mistakes else W.T @ delta

    def returned(self, dW: list[Array], db: list[Array]) -> Parameters:  # noqa: N803
        """Return the gradient in the shape that the mistakes give it."""
        if "bias-columns" in self.mistakes:
            db = [b[:, np.newaxis] for b in db]
        if "bias-rows" in self.mistakes:
            db = [b[np.newaxis, :] for b in db]
        if "bias-one-number" in self.mistakes:
            db = [np.asarray(b.sum()) for b in db]
        if "weights-transposed" in self.mistakes:
            dW = [W.T for W in dW]
        if "layers-reversed" in self.mistakes:
            dW, db = dW[::-1], db[::-1]
        if "pair-swapped" in self.mistakes:
            return Parameters(db, dW)
        if "pairs-per-layer" in self.mistakes:
            return cast(Parameters, list(zip(dW, db, strict=True)))
        return Parameters(dW, db)


class WrongStep(WrongCode):
    """The same with a `step` of its own, and mistakes in it. The mistakes in the shape of a result do not affect it."""

    def __init__(self, sizes: Any, batch_size: int, dtype: Any = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self.velocities = [(np.zeros_like(W), np.zeros_like(b)) for W, b in zip(self.weights, self.biases, strict=True)]

    def step(self, batch: Batch, learning_rate: float) -> None:
        def update(layer: int, dW: Array, db: Array) -> None:  # noqa: N803
            self.update(layer, dW, db, float(learning_rate))

        if "updated-while-going-back" in self.mistakes:
            self.backprop(batch, update)
            return
        for layer, (dW, db) in enumerate(zip(*self.backprop(batch), strict=True)):
            update(layer, dW, db)

    def update(self, layer: int, dW: Array, db: Array, rate: float) -> None:  # noqa: N803
        W, b = self.weights[layer], self.biases[layer]
        if "weight-decay" in self.mistakes:
            dW = dW + 0.01 * W
        if "momentum" in self.mistakes:
            vW, vb = self.velocities[layer]
            dW, db = self.velocities[layer] = 0.9 * vW + dW, 0.9 * vb + db
        if "rate-twice" in self.mistakes:
            rate *= rate
        if "rate-ignored" in self.mistakes:
            rate = 1.0
        if "step-adds" in self.mistakes:
            rate = -rate
        W -= rate * dW
        if "bias-not-updated" not in self.mistakes:
            b -= rate * db


def sigmoid(z: Array) -> Array:
    return expit(z)  # type: ignore[no-any-return]


@cache
def wrong_code(*mistakes: str) -> type[Implementation]:
    """Return a class with these mistakes; with none of them, it is correct.

    It has a `step` of its own if a mistake is one of a step. Raises ValueError for an unknown mistake.
    """
    unknown = sorted(set(mistakes) - set(MISTAKES))
    if unknown:
        raise ValueError(f"mistakes: expected some of {', '.join(MISTAKES)}; got {', '.join(unknown)}")
    base = WrongStep if set(mistakes) & set(STEP_MISTAKES) else WrongCode
    name = "And".join(mistake.title().replace("-", "") for mistake in mistakes) or "NoMistake"
    doc = "; ".join(MEANINGS[mistake] for mistake in mistakes)
    return type(name, (base,), {"mistakes": frozenset(mistakes), "__doc__": doc, "__module__": __name__})
