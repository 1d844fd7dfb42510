"""Backpropagation with ordinary mistakes that can be switched on, alone or together: material for a diagnosis.

Written for itself: examples are columns, and each layer is a turn of a loop. It shares no code with an implementation,
and `wrong_code()` without a mistake is correct.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, cast

import numpy as np
from scipy.special import expit

from impls.interface import Array, Batch, Implementation, Parameters

SHAPE_MISTAKES = {
    "bias-columns": "each bias gradient is a column, (n_out, 1)",
    "bias-rows": "each bias gradient is a row, (1, n_out)",
    "pair-swapped": "weights and biases are swapped: gradients returns (db, dW)",
    "weights-transposed": "each weight gradient is transposed: (n_in, n_out)",
    "layers-reversed": "the layers are in reverse order, the last one first",
    "bias-one-number": "each bias gradient is summed to one number",
    "pairs-per-layer": "returns a list of pairs per layer, [(dW0, db0), (dW1, db1), …]",
}

VALUE_MISTAKES = {
    "sum-not-mean": "the gradient is the sum over the mini-batch, not the mean",
    "sign": "the sign is wrong: y - a instead of a - y",
    "mean-twice": "divided by the number of examples twice",
    "error-back": "the error a - y, not delta, goes back through the weights",
    "slope-of-a": "the slope of the sigmoid is taken at the activation instead of at z, in all layers",
    "slope-missing-hidden": "the slope of the sigmoid is missing in the hidden layers",
    "slope-missing-output": "the slope of the sigmoid is missing at the output: the delta of the cross-entropy",
    "bias-forgotten": "the biases are not added in the forward pass",
    "bias-gradient-zero": "the bias gradients are zero",
    "bias-summed-to-one": "each bias gradient is the same number everywhere, the sum over all units",
    "hidden-relu": "the hidden layers have ReLU",
    "hidden-tanh": "the hidden layers have tanh",
    "output-softmax": "the output layer is a softmax, with the delta of the cross-entropy",
    "output-linear": "the output layer is linear",
    "own-weights": "the weights that are loaded are not used",
    "wrong-axis": "the bias gradient is summed along the wrong axis: over units, (B,), instead of over examples",
    "transposed-back": "delta goes back through W instead of its transpose, where W is square",
    "z-for-a": "dW is made with z of the layer before instead of its activation",
    "first-example-only": "only the first example counts: the loop returns in its first turn",
    "last-example-missing": "the last example is left out, and the sum is still divided by all",
    "half-missing": "twice as large: the factor 1/2 of the cost is missing",
    "outputs-mean": "the mean is over the outputs, too",
    "columns-for-rows": "x and y become (n, B) by reshape instead of by transpose",
    "regularized": "the gradient of the weights includes weight decay, 0.01 * W",
}

STEP_MISTAKES = {
    "rate-twice": "the learning rate is multiplied twice",
    "rate-ignored": "the learning rate is ignored",
    "step-adds": "the step adds the gradient instead of subtracting it",
    "weight-decay": "the step includes weight decay, rate * 0.01 * W",
    "momentum": "the step has momentum, 0.9",
    "updated-while-going-back": "the weights are already updated when delta goes back through them",
    "bias-not-updated": "the biases are not updated",
}

MEANINGS = SHAPE_MISTAKES | VALUE_MISTAKES | STEP_MISTAKES  # id -> what it is, in one line

MISTAKES = {  # id -> a regular expression that any honest diagnosis in English matches, whatever its case
    "bias-columns": r"bias.*(column|, ?1\))",
    "bias-rows": r"bias.*(\brows?\b|\(1, )",
    "pair-swapped": r"swap|exchang|mixed up|(bias|db).*(before|first)",
    "weights-transposed": r"transpos",
    "layers-reversed": r"revers|last (layer )?first|backwards|order of the layers",
    "bias-one-number": r"bias.*(one|single|scalar|all units|over (the )?units)",
    "pairs-per-layer": r"pairs|per layer|layer by layer|for each layer",
    "sum-not-mean": r"\bsum(s|med)?\b.*(batch|mean|averag|example)|not (averaged|divided)|(mean|averag).*\bsum",
    "sign": r"\bsign|y ?[-\u2212] ?a|negat|opposite|ascent",
    "mean-twice": r"(divid|mean|averag|batch|example).*(twice|squar)|twice.*(divid|mean|averag|batch|example)",
    "error-back": r"error.*(back|through)|back.*error",
    "slope-of-a": r"(slope|derivative|prime).*(activation|\(a\)|(of|at) a(,|;|\.|$| instead| not)|instead of.*\bz)",
    "slope-missing-hidden": r"(?=.*(slope|derivative|prime))(?=.*hidden)",
    "slope-missing-output": r"cross-entropy|(?=.*(slope|derivative|prime))(?=.*(output|last layer))",
    "bias-forgotten": r"bias.*(forward|not added|left out|forgotten|missing|ignored|not used|unused)|(without|no) bias",
    "bias-gradient-zero": r"bias.*(zero|\b0\b)",
    "bias-summed-to-one": r"(?=.*bias)(?=.*(one|single|same|equal|all units|over (the )?units))",
    "hidden-relu": r"relu|rectif",
    "hidden-tanh": r"tanh|hyperbolic",
    "output-softmax": r"softmax",
    "output-linear": r"\blinear|identity|no (sigmoid|activation)|without.*sigmoid",
    "own-weights": r"\bload|own (weights|parameters)",
    "wrong-axis": r"\baxis|over (the )?units",
    "transposed-back": r"transpos|W\.T|W instead",
    "z-for-a": r"\bzs?\b|pre-?activation|weighted input|before the (sigmoid|activation)",
    "first-example-only": r"first example|(only|one|single).*example",
    "last-example-missing": r"last example|example.*(missing|left out|dropped|skipped)",
    "half-missing": r"half|1/2|0\.5|twice|doubl|\b2(\.0+)? times|factor.*\b2\b",
    "outputs-mean": r"(mean|averag|divid).*(outputs|units|n_L)|(outputs|units|n_L).*(mean|averag|divid)",
    "columns-for-rows": r"reshap|transpos|rows.*columns|columns.*rows",
    "regularized": r"decay|regulari|\bL2\b|shr[iu]nk",
    "rate-twice": r"rate.*(twice|squar)|twice.*rate",
    "rate-ignored": r"rate.*(ignor|not used|unused|missing|forgotten|not multiplied|no effect)|(ignor|without).*rate",
    "step-adds": r"\badd(s|ed|ing)?\b|\bsign|opposite|uphill|ascent|wrong direction",
    "weight-decay": r"decay|regulari|\bL2\b|shr[iu]nk",
    "momentum": r"momentum|velocity|(previous|earlier|last) (step|gradient)",
    "updated-while-going-back": r"(already|early|before|while|after).*updat|updat.*(already|early|before|while|when)",
    "bias-not-updated": r"bias.*(not|never).*(updat|chang|mov|learn|train)|bias.*(unchanged|stay|remain|frozen|fixed)",
}

SINGLES = list(MISTAKES)

PAIRS_BY_FIRST = {  # compatible mistakes that people make together; no pair computes the same as another case
    "bias-columns": (
        "sum-not-mean sign mean-twice half-missing outputs-mean error-back slope-of-a "
        "slope-missing-hidden slope-missing-output bias-forgotten hidden-relu hidden-tanh "
        "output-softmax regularized own-weights last-example-missing transposed-back"
    ),
    "bias-rows": ("sum-not-mean half-missing slope-missing-output hidden-relu output-softmax output-linear z-for-a"),
    "pair-swapped": "sum-not-mean sign slope-of-a error-back output-linear first-example-only own-weights",
    "weights-transposed": "sum-not-mean half-missing slope-missing-output hidden-relu output-softmax columns-for-rows",
    "layers-reversed": "sum-not-mean sign error-back slope-missing-hidden hidden-tanh",
    "bias-one-number": "sum-not-mean half-missing outputs-mean slope-of-a output-softmax",
    "pairs-per-layer": "sum-not-mean mean-twice slope-missing-output hidden-relu output-linear",
    "sum-not-mean": (
        "sign error-back slope-of-a slope-missing-hidden slope-missing-output bias-forgotten "
        "bias-summed-to-one bias-gradient-zero hidden-relu hidden-tanh output-softmax output-linear "
        "wrong-axis transposed-back z-for-a half-missing columns-for-rows regularized rate-twice "
        "rate-ignored weight-decay momentum updated-while-going-back"
    ),
    "hidden-relu": (
        "output-softmax output-linear slope-missing-output bias-forgotten regularized half-missing "
        "momentum bias-not-updated"
    ),
    "hidden-tanh": "output-softmax output-linear sign weight-decay",
    "output-softmax": "regularized bias-summed-to-one mean-twice weight-decay momentum",
    "half-missing": "outputs-mean sign slope-of-a last-example-missing rate-twice bias-not-updated momentum",
    "slope-missing-output": (
        "slope-missing-hidden slope-of-a bias-forgotten first-example-only transposed-back "
        "columns-for-rows sign momentum updated-while-going-back"
    ),
    "slope-of-a": "bias-summed-to-one error-back last-example-missing updated-while-going-back step-adds",
    "slope-missing-hidden": "z-for-a step-adds",
    "bias-forgotten": "bias-gradient-zero bias-not-updated",
    "bias-summed-to-one": "mean-twice",
    "error-back": "wrong-axis weight-decay",
    "outputs-mean": "momentum rate-ignored",
    "output-linear": "rate-twice",
    "last-example-missing": "updated-while-going-back",
}
PAIRS = [(first, second) for first, seconds in PAIRS_BY_FIRST.items() for second in seconds.split()]


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
