"""Backpropagation whose parts can be replaced, and the ordinary mistakes in each part.

`Backprop()` is correct. A mistake replaces one or two of its parts; two mistakes that replace different parts can be
made together, so that the diagnosis can try all of them by themselves and in pairs. A mistake is one entry of
MISTAKES; the likelier ones come first. Dimensions are those of `impls.interface`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.interface import Array, Parameters

Rows = NDArray[np.intp]  # indices of the examples of one mini-batch
Activation = Callable[[Array], Array]  # of z (B, n_out)
Slope = Callable[[Array, Array], Array]  # of z and a = activation(z), both (B, n_out)


@dataclass(frozen=True)
class Case:
    """What a gradient is asked of, in float64."""

    parameters: Parameters
    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    cost: str
    batch_size: int  # of the construction
    learning_rate: float = np.nan  # of the step; NaN where only a gradient is asked for

    def only(self, rows: Any) -> "Case":
        """Return the case with some of the examples."""
        return replace(self, x=self.x[rows], y=self.y[rows])

    def at(self, parameters: Parameters) -> "Case":
        """Return the case at other parameters."""
        return replace(self, parameters=parameters)


@dataclass
class Pass:
    """What backpropagation has computed so far."""

    case: Case
    zs: list[Array] = field(default_factory=list)  # L arrays (B, n_out)
    activations: list[Array] = field(default_factory=list)  # L + 1 arrays, x first
    errors: list[Array] = field(default_factory=list)  # (B, n_out), dC/da; the layers done so far, the last layer last
    deltas: list[Array] = field(default_factory=list)  # (B, n_out), dC/dz; likewise


def sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def slope_of_sigmoid(_z: Array, a: Array) -> Array:
    return a * (1.0 - a)


def no_slope(z: Array, _a: Array) -> Array:
    return np.ones_like(z)


def as_given(array: Array) -> Array:
    return array


def delta_through_weights(layer: int, done: Pass) -> Array:
    """Return dC/da of a layer, from the delta of the next one."""
    return done.deltas[0] @ done.case.parameters.weights[layer + 1]


@dataclass(frozen=True)
class Backprop:
    """Backpropagation, part by part."""

    examples: Callable[[Array], Array] = as_given  # of x and of y: those that count
    mean_over: Callable[[Case, int], int] = lambda _case, used: used  # of B and the examples that count
    inputs: Callable[[Array], Array] = as_given  # of x (B, n_0)
    targets: Callable[[Array], Array] = as_given  # of y (B, n_L)
    bias: Callable[[Array, int], Array] = lambda b, _examples: b  # as it is added to z, given B
    hidden: Activation = sigmoid
    output: Activation = sigmoid
    hidden_slope: Slope = slope_of_sigmoid
    output_slope: Slope | None = None  # None: as the cost asks for
    error_back: Callable[[int, Pass], Array] = delta_through_weights  # dC/da of a hidden layer
    layer_inputs: Callable[[Pass], Sequence[Array]] = lambda done: done.activations[:-1]  # for the weights' gradients
    bias_gradient: Callable[[Array], Array] = lambda delta: delta.sum(axis=0)  # of delta (B, n_out)

    def run(self, case: Case) -> Pass:
        """Go forward and back."""
        weights, biases = case.parameters
        last = len(weights) - 1
        count = self.mean_over(case, len(self.examples(case.x)))
        case = replace(case, x=self.inputs(self.examples(case.x)), y=self.targets(self.examples(case.y)))
        done = Pass(case, activations=[case.x])
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            done.zs.append(done.activations[-1] @ W.T + self.bias(b, len(case.x)))  # (B, n_out)
            done.activations.append((self.output if layer == last else self.hidden)(done.zs[-1]))
        output_slope = self.output_slope or (no_slope if case.cost == "cross-entropy" else slope_of_sigmoid)
        for layer in range(last, -1, -1):
            a = done.activations[layer + 1]
            at_end = layer == last
            error = (a - case.y) / count if at_end else self.error_back(layer, done)  # (B, n_out)
            slope = (output_slope if at_end else self.hidden_slope)(done.zs[layer], a)
            done.errors.insert(0, error)
            done.deltas.insert(0, error * slope)
        return done

    def gradient(self, case: Case) -> Parameters:
        """Return the gradient. Raises ValueError or IndexError where shapes do not allow what replaces a part."""
        done = self.run(case)
        return Parameters(
            [delta.T @ a for delta, a in zip(done.deltas, self.layer_inputs(done), strict=True)],  # (n_out, n_in)
            [self.bias_gradient(delta) for delta in done.deltas],  # (n_out,)
        )


Part = Callable[..., Any]


class Mistake(NamedTuple):
    """A mistake in one or two parts of backpropagation."""

    sentence: str
    parts: Mapping[str, Part]  # fields of `Backprop` that it replaces


def with_mistakes(mistakes: Iterable[Mistake]) -> Backprop:
    """Return backpropagation with these mistakes."""
    return replace(Backprop(), **{name: part for mistake in mistakes for name, part in mistake.parts.items()})


def compatible_pairs(mistakes: Sequence[Mistake]) -> list[tuple[Mistake, Mistake]]:
    """Return all pairs of mistakes that replace different parts."""
    return [(one, other) for one, other in combinations(mistakes, 2) if not one.parts.keys() & other.parts.keys()]


# --- The mistakes ----------------------------------------------------------------------------------------------------


def _slopes(words: str, slope: Slope) -> list[Mistake]:
    """Return three mistakes in the slope: everywhere, in the hidden layers, at the output."""
    return [
        Mistake(f"{words} in all layers", {"hidden_slope": slope, "output_slope": slope}),
        Mistake(f"{words} in the hidden layers", {"hidden_slope": slope}),
        Mistake(f"{words} at the output", {"output_slope": slope}),
    ]


def _activations(name: str, activation: Activation, slope: Slope) -> list[Mistake]:
    """Return three mistakes in the activation, each with the slope that belongs to it."""
    hidden: dict[str, Part] = {"hidden": activation, "hidden_slope": slope}
    output: dict[str, Part] = {"output": activation, "output_slope": slope}
    return [
        Mistake(f"the hidden layers compute {name} instead of the sigmoid", hidden),
        Mistake(f"all layers compute {name} instead of the sigmoid", hidden | output),
        Mistake(f"the output layer computes {name} instead of the sigmoid", output),
    ]


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    share: Array = e / e.sum(axis=1, keepdims=True)
    return share


def _bias_along_examples(b: Array, examples: int) -> Array:
    return b[:, np.newaxis] if len(b) == examples else b


def _reshaped(array: Array) -> Array:
    """Return columns of examples as they come out of `array.reshape(n, B)`, as rows."""
    return array.reshape(array.shape[1], array.shape[0]).T


def _through_transposed_weights(layer: int, done: Pass) -> Array:
    W = done.case.parameters.weights[layer + 1]
    return done.deltas[0] @ (W.T if W.shape[0] == W.shape[1] else W)


def _error_through_weights(layer: int, done: Pass) -> Array:
    return done.errors[0] @ done.case.parameters.weights[layer + 1]


def _through_wrong_weights(layer: int, done: Pass) -> Array:
    return done.deltas[0] @ done.case.parameters.weights[layer]


def _from_last_delta(layer: int, done: Pass) -> Array:
    return done.deltas[-1] @ done.case.parameters.weights[layer + 1]


def _through_updated_weights(layer: int, done: Pass) -> Array:
    """Return dC/da through weights to which the step was already applied."""
    step = done.case.learning_rate * done.deltas[0].T @ done.activations[layer + 1]  # (n_out, n_in)
    if np.isnan(done.case.learning_rate):
        raise ValueError("a gradient is asked for, and no step")
    return done.deltas[0] @ (done.case.parameters.weights[layer + 1] - step)


def _divided_again(layer: int, done: Pass) -> Array:
    return delta_through_weights(layer, done) / len(done.case.x)


def _doubled_again(layer: int, done: Pass) -> Array:
    return 2.0 * delta_through_weights(layer, done)


def _examples(sentence: str, chosen: slice) -> list[Mistake]:
    """Return two mistakes: only some examples count, in their own mean or in that of all."""
    parts: dict[str, Part] = {"examples": lambda array: array[chosen]}
    return [Mistake(sentence, parts), Mistake(sentence, parts | {"mean_over": lambda case, _: len(case.x)})]


QUADRATIC_ONLY = (
    Mistake(
        "the slope of the sigmoid is missing at the output: this is the gradient of the cross-entropy, "
        "not of the quadratic cost",
        {"output_slope": no_slope},
    ),
    Mistake(
        "the slope of the sigmoid is missing in all layers, at the output and in the hidden ones",
        {"hidden_slope": no_slope, "output_slope": no_slope},
    ),
)
CROSS_ENTROPY_ONLY = (
    Mistake(
        "the last delta is multiplied by the slope of the sigmoid: this is the gradient of the quadratic cost, "
        "not of the cross-entropy",
        {"output_slope": slope_of_sigmoid},
    ),
)
MISTAKES = (
    Mistake("the slope of the sigmoid is missing in the hidden layers", {"hidden_slope": no_slope}),
    Mistake(
        "the error goes back through the weights instead of the delta: the slopes of later layers are missing",
        {"error_back": _error_through_weights},
    ),
    Mistake("the biases are ignored in the forward pass", {"bias": lambda b, _: 0.0 * b}),
    Mistake("the biases are subtracted in the forward pass", {"bias": lambda b, _: -b}),
    Mistake("the biases are added along the axis of the examples", {"bias": _bias_along_examples}),
    *_activations("ReLU", lambda z: np.maximum(z, 0.0), lambda z, _: np.where(z > 0.0, 1.0, 0.0)),
    Mistake(
        "the output is a softmax with the cross-entropy instead of a sigmoid with the quadratic cost",
        {"output": _softmax, "output_slope": no_slope},
    ),
    *_activations("tanh", np.tanh, lambda _, a: 1.0 - a * a),
    *_activations("the identity", as_given, no_slope),
    *_slopes("the slope is that of the sigmoid at a instead of at z", lambda _, a: slope_of_sigmoid(a, sigmoid(a))),
    *_slopes("the slope is z(1 - z) instead of a(1 - a)", lambda z, _: z * (1.0 - z)),
    *_slopes("the slope is that of tanh, 1 - a^2, instead of a(1 - a)", lambda _, a: 1.0 - a * a),
    *_slopes("the slope is a instead of a(1 - a)", lambda _, a: a),
    *_slopes("the slope is 1 - a instead of a(1 - a)", lambda _, a: 1.0 - a),
    *_slopes("the slope is a(1 + a) instead of a(1 - a)", lambda _, a: a * (1.0 + a)),
    *_slopes("the slope is that of ReLU instead of a(1 - a)", lambda z, _: np.where(z > 0.0, 1.0, 0.0)),
    Mistake("delta goes back through the transposed weights", {"error_back": _through_transposed_weights}),
    Mistake("delta goes back through the weights of the wrong layer", {"error_back": _through_wrong_weights}),
    Mistake("every layer starts from the output's delta instead of the next layer's", {"error_back": _from_last_delta}),
    Mistake("delta is divided by the number of examples again at every layer", {"error_back": _divided_again}),
    Mistake("delta is multiplied by 2 at every layer", {"error_back": _doubled_again}),
    Mistake("delta goes back through weights that are already updated", {"error_back": _through_updated_weights}),
    Mistake(
        "the weights' gradients are products with the layers' own outputs instead of their inputs",
        {"layer_inputs": lambda done: done.activations[1:]},
    ),
    Mistake(
        "the weights' gradients are products with z instead of the activation",
        {"layer_inputs": lambda done: [done.activations[0], *done.zs[:-1]]},
    ),
    Mistake(
        "the biases' gradients are summed to one number: over all units of the layer, too",
        {"bias_gradient": lambda delta: np.full(delta.shape[1], delta.sum())},
    ),
    Mistake("x is reshaped instead of transposed: rows and columns are mixed", {"inputs": _reshaped}),
    Mistake(
        "x and y are reshaped instead of transposed: rows and columns are mixed",
        {"inputs": _reshaped, "targets": _reshaped},
    ),
    *_examples("only the first example is used", slice(0, 1)),
    *_examples("only the last example is used", slice(-1, None)),
    *_examples("the last example is left out", slice(0, -1)),
    Mistake("the targets are ignored", {"targets": np.zeros_like}),
    Mistake("all examples have the target of the first", {"targets": lambda y: np.repeat(y[:1], len(y), 0)}),
    Mistake("x and y are not paired: the targets are in reverse", {"targets": lambda y: y[::-1]}),
    Mistake("x and y are not paired: each target is the next example's", {"targets": lambda y: np.roll(y, -1, 0)}),
    Mistake("x and y are not paired: each target is the previous example's", {"targets": lambda y: np.roll(y, 1, 0)}),
)


def mistakes_for(cost: str) -> tuple[Mistake, ...]:
    """Return the mistakes that can be made with a cost."""
    return (QUADRATIC_ONLY if cost == "quadratic" else CROSS_ENTROPY_ONLY) + MISTAKES
