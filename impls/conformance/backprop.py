"""Backpropagation and gradient descent whose parts can be replaced, and the ordinary mistakes in each part.

`Backprop()` is correct. A mistake replaces some of its parts; mistakes that replace different parts can be made
together. The likelier mistakes come first. Dimensions are those of `impls.interface`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.conformance.reference import elementwise, reference_gradients
from impls.interface import Array, Parameters

Rows = NDArray[np.intp]  # indices of the examples of one mini-batch
Epochs = Sequence[Sequence[Rows]]
Activation = Callable[[Array], Array]  # of z (B, n_out)
Slope = Callable[[Array, Array], Array]  # of z and a = activation(z), both (B, n_out)


@dataclass(frozen=True)
class Inputs:
    """The inputs of a gradient or of steps, in float64."""

    parameters: Parameters
    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    cost: str
    batch_size: int  # of the construction
    learning_rate: float  # NaN where only a gradient is asked for
    dtype: str  # of the implementation


def inputs_in_float64(
    parameters: Parameters, x: Array, y: Array, cost: str, batch_size: int, learning_rate: float = np.nan
) -> Inputs:
    """Return the inputs, given parameters and examples in the implementation's dtype."""
    wide = elementwise(lambda p: np.asarray(p, np.float64), parameters)
    return Inputs(wide, x.astype(np.float64), y.astype(np.float64), cost, batch_size, learning_rate, x.dtype.name)


@dataclass
class Pass:
    """What backpropagation has computed so far. Errors are dC/da and deltas dC/dz, the last layer last."""

    inputs: Inputs
    zs: list[Array] = field(default_factory=list)  # L arrays (B, n_out)
    activations: list[Array] = field(default_factory=list)  # L + 1 arrays, x first
    errors: list[Array] = field(default_factory=list)  # (B, n_out)
    deltas: list[Array] = field(default_factory=list)  # (B, n_out)


def sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def slope_of_sigmoid(_z: Array, a: Array) -> Array:
    return a * (1.0 - a)


def no_slope(z: Array, _a: Array) -> Array:
    return np.ones_like(z)


@dataclass(frozen=True)
class Backprop:
    """Backpropagation, part by part."""

    arrange: Callable[[Array], Array] = np.asarray  # of x (B, n_0) and of y (B, n_L)
    shares: Callable[[int], Array] = lambda count: np.full(count, 1 / count)  # (B,): of each example in the gradient
    bias_factor: float = 1.0  # in the forward pass
    hidden: Activation = sigmoid
    output: Activation = sigmoid
    hidden_slope: Slope = slope_of_sigmoid
    output_slope: Slope | None = None  # None: as the cost asks for
    error_back: Callable[[int, Pass], Array] = lambda layer, p: p.deltas[0] @ p.inputs.parameters.weights[layer + 1]
    layer_inputs: Callable[[Pass], Sequence[Array]] = lambda p: p.activations[:-1]  # for the weights' gradients
    bias_gradient: Callable[[Array], Any] = lambda delta: delta.sum(axis=0)  # of delta (B, n_out)

    def run(self, inputs: Inputs) -> Pass:
        """Go forward and back."""
        weights, biases = inputs.parameters
        last = len(weights) - 1
        x, y = self.arrange(inputs.x), self.arrange(inputs.y)
        result = Pass(inputs, activations=[x])
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            z = result.activations[-1] @ W.T + self.bias_factor * b  # (B, n_out)
            result.zs.append(z)
            result.activations.append(self.output(z) if layer == last else self.hidden(z))
        slope = self.output_slope or (no_slope if inputs.cost == "cross-entropy" else slope_of_sigmoid)
        error = (result.activations[-1] - y) * self.shares(len(x))[:, np.newaxis]  # (B, n_L)
        for layer in range(last, -1, -1):
            if layer < last:
                slope, error = self.hidden_slope, self.error_back(layer, result)  # (B, n_out)
            result.errors.insert(0, error)
            result.deltas.insert(0, error * slope(result.zs[layer], result.activations[layer + 1]))
        return result

    def gradient(self, inputs: Inputs) -> Parameters:
        """Return the gradient. Raises ValueError where shapes do not allow what replaces a part."""
        result = self.run(inputs)
        layer_inputs = self.layer_inputs(result)
        return Parameters(
            [delta.T @ a for delta, a in zip(result.deltas, layer_inputs, strict=True)],  # (n_out, n_in)
            [np.asarray(self.bias_gradient(delta)) for delta in result.deltas],  # (n_out,)
        )


class Mistake(NamedTuple):
    """A mistake in backpropagation, and the fields of `Backprop` that it replaces."""

    sentence: str
    parts: Mapping[str, Any]


def with_mistakes(mistakes: Sequence[Mistake]) -> Backprop:
    """Return backpropagation with these mistakes."""
    return replace(Backprop(), **{name: part for mistake in mistakes for name, part in mistake.parts.items()})


def _slopes(words: str, slope: Slope) -> list[Mistake]:
    """Return three mistakes in the slope: in all layers, in the hidden ones, at the output."""
    return [
        Mistake(f"{words} in all layers, hidden ones and output", {"hidden_slope": slope, "output_slope": slope}),
        Mistake(f"{words} in the hidden layers", {"hidden_slope": slope}),
        Mistake(f"{words} at the output", {"output_slope": slope}),
    ]


def _activations(name: str, activation: Activation, slope: Slope) -> list[Mistake]:
    """Return two mistakes in the activation, each with the slope that belongs to it."""
    return [
        Mistake(f"the {layers} {verb} {name} instead of the sigmoid", {part: activation, f"{part}_slope": slope})
        for part, layers, verb in (("hidden", "hidden layers", "compute"), ("output", "output layer", "computes"))
    ]


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    probabilities: Array = e / e.sum(axis=1, keepdims=True)
    return probabilities


def _reshaped(array: Array) -> Array:
    """Return columns of examples as they come out of `array.reshape(n, B)`, as rows."""
    return array.reshape(array.shape[1], array.shape[0]).T


def _through_updated_weights(layer: int, p: Pass) -> Array:
    """Return dC/da through weights to which the step was already applied; NaN where there is no step."""
    dW = p.deltas[0].T @ p.activations[layer + 1]  # (n_out, n_in)
    return p.deltas[0] @ (p.inputs.parameters.weights[layer + 1] - p.inputs.learning_rate * dW)


MISTAKES = (
    *_slopes("the slope of the sigmoid is missing", no_slope),
    Mistake(
        "the last delta is multiplied by the slope of the sigmoid, which belongs to the quadratic cost",
        {"output_slope": slope_of_sigmoid},
    ),
    Mistake(
        "the error goes back through the weights instead of the delta: the slopes of later layers are missing",
        {"error_back": lambda layer, p: p.errors[0] @ p.inputs.parameters.weights[layer + 1]},
    ),
    Mistake("the biases are ignored in the forward pass", {"bias_factor": 0.0}),
    *_activations("ReLU", lambda z: np.maximum(z, 0.0), lambda z, _: np.where(z > 0.0, 1.0, 0.0)),
    Mistake("the output is a softmax instead of a sigmoid", {"output": _softmax, "output_slope": no_slope}),
    *_activations("tanh", np.tanh, lambda _, a: 1.0 - a * a),
    *_activations("the identity", np.asarray, no_slope),
    *_slopes("the slope is that of the sigmoid at a instead of at z", lambda _, a: slope_of_sigmoid(a, sigmoid(a))),
    *_slopes("the slope is z(1 - z) instead of a(1 - a)", lambda z, _: z * (1.0 - z)),
    Mistake(
        "delta goes back through the transposed weights",
        {"error_back": lambda layer, p: p.deltas[0] @ p.inputs.parameters.weights[layer + 1].T},
    ),
    Mistake("delta goes back through weights that are already updated", {"error_back": _through_updated_weights}),
    Mistake(
        "the weights' gradients are products with z instead of the activation",
        {"layer_inputs": lambda p: [p.activations[0], *p.zs[:-1]]},
    ),
    Mistake(
        "the biases' gradients are summed to one number: over all units of the layer, too",
        {"bias_gradient": lambda delta: np.full(delta.shape[1], delta.sum())},
    ),
    Mistake("the gradient of each layer's biases is one number instead of a vector", {"bias_gradient": np.sum}),
    Mistake(
        "the gradients of the biases are summed over the units instead of the examples",
        {"bias_gradient": lambda delta: delta.sum(axis=1)},
    ),
    Mistake("x and y are reshaped instead of transposed: rows and columns are mixed", {"arrange": _reshaped}),
    Mistake("only the first example is used", {"shares": lambda count: np.eye(count)[0]}),
    Mistake("the last example is left out", {"shares": lambda count: np.append(np.full(count - 1, 1 / count), 0.0)}),
)

# --- Steps and epochs ------------------------------------------------------------------------------------------------


def correct_gradient(inputs: Inputs) -> Parameters:
    """Return the reference's gradient."""
    return reference_gradients(inputs.parameters, inputs.x, inputs.y, inputs.cost)


def descend(
    inputs: Inputs,
    batches: Sequence[Rows],
    gradient: Callable[[Inputs], Parameters] = correct_gradient,
    momentum: float = 0.0,
) -> Parameters:
    """Return the parameters after a gradient step with each of the mini-batches."""
    parameters = inputs.parameters
    velocity = elementwise(np.zeros_like, parameters)
    for rows in batches:
        now = gradient(replace(inputs, parameters=parameters, x=inputs.x[rows], y=inputs.y[rows]))
        velocity = elementwise(lambda v, dp: momentum * v + dp, velocity, now)
        parameters = elementwise(lambda p, v: p - inputs.learning_rate * v, parameters, velocity)
    return parameters


def _all_batches(epochs: Epochs, _batch_size: int) -> list[Rows]:
    return [rows for epoch in epochs for rows in epoch]


@dataclass(frozen=True)
class StepMistake:
    """A mistake in steps or epochs, by the parts of `descend` that it replaces."""

    sentence: str
    batches: Callable[[Epochs, int], list[Rows]] = _all_batches  # of the epochs and the batch size
    gradient: Callable[[Inputs], Parameters] = correct_gradient
    momentum: float = 0.0

    def parameters(self, inputs: Inputs, epochs: Epochs) -> Parameters:
        """Return the parameters after the steps."""
        return descend(inputs, self.batches(epochs, inputs.batch_size), self.gradient, self.momentum)


def _in_each_epoch(choose: Callable[[Rows, int], list[Rows]]) -> Callable[[Epochs, int], list[Rows]]:
    """Return the choice of other mini-batches in every epoch, given its order and the batch size."""
    return lambda epochs, size: [rows for epoch in epochs for rows in choose(np.concatenate(epoch), size)]


def _cut(order: Rows, batch_size: int) -> list[Rows]:
    return np.split(order, range(batch_size, len(order), batch_size))


def _filled_up(order: Rows, batch_size: int) -> list[Rows]:
    return _cut(np.resize(order, -(-len(order) // batch_size) * batch_size), batch_size)


def _shuffled_in_place(epochs: Epochs, _batch_size: int) -> list[Rows]:
    """Return the mini-batches if each epoch's order is applied to the data as the epoch before has left it."""
    left = np.arange(sum(map(len, epochs[0])))
    batches: list[Rows] = []
    for epoch in epochs:
        batches += [left[rows] for rows in epoch]
        left = left[np.concatenate(epoch)]
    return batches


def _mean_over_batch_size(inputs: Inputs) -> Parameters:
    share = len(inputs.x) / inputs.batch_size
    return elementwise(lambda dp: share * dp, correct_gradient(inputs))


STEP_MISTAKES = (
    StepMistake(
        "the last, smaller mini-batch is left out",
        _in_each_epoch(lambda order, size: _cut(order[: len(order) // size * size], size)),
    ),
    StepMistake("the last, smaller mini-batch is filled up with the first examples", _in_each_epoch(_filled_up)),
    StepMistake("the last, smaller mini-batch is averaged over the whole batch size", gradient=_mean_over_batch_size),
    StepMistake(
        "the order is ignored: the examples are taken as they are stored",
        _in_each_epoch(lambda order, size: _cut(np.sort(order), size)),
    ),
    StepMistake("the data is shuffled in place: the next epoch's order means other examples", _shuffled_in_place),
    StepMistake("only the first mini-batch is used", _in_each_epoch(lambda order, size: [order[:size]])),
    StepMistake("the gradients of earlier steps are not cleared: they accumulate", momentum=1.0),
    StepMistake("momentum: 0.9 of the last step is added to each step", momentum=0.9),
)
