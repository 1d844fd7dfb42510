"""Known mistakes in backpropagation and gradient descent: what each would compute, in float64, and its one sentence.

The mistakes are entries of tables; a new one is one more entry. The first entry that reproduces a wrong result is
taken, so the likelier mistakes come first. A function raises ValueError or IndexError where the shapes of a network do
not allow its mistake. Dimensions are those of `impls.interface`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from impls.conformance.oracle import oracle_gradients
from impls.interface import Array, Parameters

Rows = NDArray[np.intp]  # indices of the examples of one mini-batch
Elementwise = Callable[[Array, Array], Array]  # of z and a = sigmoid(z), both (B, n_out)


@dataclass(frozen=True)
class Case:
    """What a gradient is asked of, in float64."""

    parameters: Parameters
    x: Array  # (B, n_0)
    y: Array  # (B, n_L)
    cost: str
    batch_size: int  # of the construction

    def only(self, rows: Any) -> "Case":
        """Return the case with some of the examples."""
        return replace(self, x=self.x[rows], y=self.y[rows])

    def at(self, parameters: Parameters) -> "Case":
        """Return the case at other parameters."""
        return replace(self, parameters=parameters)


@dataclass(frozen=True)
class Descent:
    """Which steps are asked for: epochs of mini-batches, and the learning rate."""

    epochs: Sequence[Sequence[Rows]]
    learning_rate: float

    @property
    def batches(self) -> list[Rows]:
        """Return the mini-batches of all epochs."""
        return [rows for epoch in self.epochs for rows in epoch]


Gradient = Callable[[Case], Parameters]


class GradientMistake(NamedTuple):
    sentence: str
    gradient: Gradient


class StepMistake(NamedTuple):
    sentence: str
    parameters: Callable[[Case, Descent], Parameters]  # after the steps


class Scale(NamedTuple):
    """What a gradient may be multiplied with by mistake is made of."""

    examples: int  # B
    outputs: int  # n_L
    batch_size: int  # of the construction
    learning_rate: float  # nan where there is none


class Factor(NamedTuple):
    """A gradient or a step multiplied by a number: the number, and the sentence after "every gradient …"."""

    value: Callable[[Scale], float]
    gradient: str
    step: str


FACTORS = (
    Factor(lambda _: 0.0, "is zero", "is unchanged: the step is not applied"),
    Factor(lambda _: -1.0, "has the wrong sign", "moves the wrong way: added instead of subtracted"),
    Factor(
        lambda s: s.examples,
        "is {k} times too large: summed over the mini-batch, not averaged",
        "moves {k} times too far: by the sum over the mini-batch, not by the mean",
    ),
    Factor(
        lambda s: 1 / s.examples,
        "is {k} times too small: divided by the number of examples twice",
        "moves {k} times too little: divided by the number of examples twice",
    ),
    Factor(
        lambda s: s.examples / s.batch_size,
        "is {k} times too small: averaged over the batch size of the construction, not over the examples given",
        "moves {k} times too little: averaged over the batch size of the construction, not over the examples given",
    ),
    Factor(
        lambda s: s.examples / (s.examples - 1 or np.nan),
        "is averaged over one example too few: divided by B - 1 instead of B",
        "moves by a mean over one example too few: divided by B - 1 instead of B",
    ),
    Factor(lambda s: 1 / s.learning_rate, "", "moves by the whole gradient: the learning rate is ignored"),
    Factor(lambda s: s.learning_rate, "", "moves by the square of the learning rate"),
    Factor(
        lambda s: np.trunc(s.learning_rate) / s.learning_rate,
        "",
        "moves by a learning rate that is truncated to an integer",
    ),
    Factor(
        lambda _: 2.0,
        "is 2 times too large: the 1/2 of the cost is missing",
        "moves 2 times too far: the step is applied twice, or the 1/2 of the cost is missing",
    ),
    Factor(
        lambda _: 0.5,
        "is 2 times too small: the 1/2 of the cost is counted twice",
        "moves 2 times too little: the 1/2 of the cost is counted twice",
    ),
    Factor(
        lambda s: 1 / s.outputs,
        "is {k} times too small: averaged over the output units, too",
        "moves {k} times too little: averaged over the output units, too",
    ),
    Factor(
        lambda s: 2 / s.outputs,
        "is that of the mean squared error over examples and output units: {k} times too small",
        "moves by the gradient of the mean squared error over examples and output units: {k} times too little",
    ),
)


# --- Backpropagation with parts that can be replaced -------------------------------------------------------------


def _as_it_is(array: Array) -> Array:
    return array


@dataclass(frozen=True)
class Trace:
    """What backpropagation computes on the way to the gradient."""

    zs: list[Array]  # L arrays (B, n_out)
    activations: list[Array]  # L + 1 arrays, x first
    deltas: list[Array]  # L arrays (B, n_out), dC/dz

    def gradient(
        self,
        inputs: list[Array] | None = None,
        sum_deltas: Callable[[Array], Array] = lambda delta: delta.sum(axis=0),
        cast: Callable[[Array], Array] = _as_it_is,
    ) -> Parameters:
        """Return the gradient: products of the deltas with the layers' `inputs`, and sums of the deltas."""
        inputs = self.activations[:-1] if inputs is None else inputs
        return Parameters(
            [cast(delta).T @ cast(a) for delta, a in zip(self.deltas, inputs, strict=True)],  # (n_out, n_in)
            [sum_deltas(delta) for delta in self.deltas],  # (n_out,)
        )


Back = Callable[[int, list[Array], list[Array], list[Array]], Array]


def sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def slope_of_sigmoid(z: Array, a: Array) -> Array:  # noqa: ARG001 (an Elementwise)
    return a * (1.0 - a)


def no_slope(z: Array, a: Array) -> Array:  # noqa: ARG001 (an Elementwise)
    return np.ones_like(a)


def back_through_weights(layer: int, deltas: list[Array], weights: list[Array], inputs: list[Array]) -> Array:  # noqa: ARG001 (a Back)
    """Return dC/da of a layer from the `deltas` of all later layers, the next one first."""
    return deltas[0] @ weights[layer + 1]


def backpropagate(
    case: Case,
    *,
    bias: Callable[[Array, int], Array] = lambda b, _: b,
    hidden: Callable[[Array], Array] = sigmoid,
    output: Callable[[Array], Array] = sigmoid,
    hidden_slope: Elementwise = slope_of_sigmoid,
    output_slope: Elementwise | None = None,
    back: Back = back_through_weights,
    cast: Callable[[Array], Array] = _as_it_is,
) -> Trace:
    """Run backpropagation with some of its parts replaced; `cast` rounds the operands of the forward products."""
    weights, biases = case.parameters
    last = len(weights) - 1
    zs, activations = [], [case.x]
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        zs.append(cast(activations[-1]) @ cast(W).T + bias(b, len(case.x)))  # (B, n_out)
        activations.append((output if layer == last else hidden)(zs[-1]))
    if output_slope is None:
        output_slope = no_slope if case.cost == "cross-entropy" else slope_of_sigmoid
    a = activations[-1]
    deltas = [(a - case.y) / len(case.x) * output_slope(zs[-1], a)]  # (B, n_L)
    for layer in range(last - 1, -1, -1):
        slope = hidden_slope(zs[layer], activations[layer + 1])
        deltas.insert(0, back(layer, deltas, weights, activations) * slope)  # (B, n_in)
    return Trace(zs, activations, deltas)


def right(case: Case) -> Parameters:
    """Return the oracle's gradient."""
    return oracle_gradients(case.parameters, case.x, case.y, case.cost)


def _mapped(parameters: Parameters, weight: Callable[[Array], Array], bias: Callable[[Array], Array]) -> Parameters:
    return Parameters([weight(W) for W in parameters.weights], [bias(b) for b in parameters.biases])


def _scaled(gradient: Parameters, factor: float) -> Parameters:
    return _mapped(gradient, lambda w: factor * w, lambda b: factor * b)


def _with(**parts: Any) -> Gradient:
    """Return the gradient by `backpropagate` with these parts replaced."""
    return lambda case: backpropagate(case, **parts).gradient()


# --- Mistakes in the gradient ------------------------------------------------------------------------------------


def _slope_mistakes(sentence: str, slope: Elementwise) -> list[GradientMistake]:
    """Return three entries for a wrong slope: at the output, in the hidden layers, everywhere."""
    return [
        GradientMistake(f"{sentence} at the output", _with(output_slope=slope)),
        GradientMistake(f"{sentence} in the hidden layers", _with(hidden_slope=slope)),
        GradientMistake(f"{sentence} in all layers", _with(hidden_slope=slope, output_slope=slope)),
    ]


def _transposed_if_square(layer: int, deltas: list[Array], weights: list[Array], inputs: list[Array]) -> Array:  # noqa: ARG001 (a Back)
    W = weights[layer + 1]
    return deltas[0] @ (W.T if W.shape[0] == W.shape[1] else W)


def _scaled_back(factor: Callable[[int], float]) -> Gradient:
    """Return the gradient with every delta but the last multiplied once more."""
    return _with(
        back=lambda layer, deltas, weights, _: factor(len(deltas[0])) * back_through_weights(layer, deltas, weights, [])
    )


def _bias_along_examples(b: Array, examples: int) -> Array:
    return b[:, np.newaxis] if len(b) == examples else b


def _no_bias(b: Array, examples: int) -> Array:  # noqa: ARG001 (replaces the addition of a bias)
    return 0.0 * b


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _product_inputs(choose: Callable[[Trace], list[Array]]) -> Gradient:
    """Return the gradient with the weights' products taken with other inputs."""

    def gradient(case: Case) -> Parameters:
        trace = backpropagate(case)
        return trace.gradient(choose(trace))

    return gradient


def _bias_sums(sum_deltas: Callable[[Array], Array]) -> Gradient:
    """Return the gradient with the deltas summed up otherwise for the biases."""
    return lambda case: backpropagate(case).gradient(sum_deltas=sum_deltas)


def _of_examples(rows: Callable[[int], Any], *, averaged: bool) -> Gradient:
    """Return the gradient of some of B examples: their mean, or their sum divided by B."""

    def gradient(case: Case) -> Parameters:
        part = case.only(rows(len(case.x)))
        return right(part) if averaged else _scaled(right(part), len(part.x) / len(case.x))

    return gradient


def _example_mistakes(sentence: str, rows: Callable[[int], Any]) -> list[GradientMistake]:
    """Return two entries for a part of the examples: divided by their number, or by that of all."""
    return [GradientMistake(sentence, _of_examples(rows, averaged=averaged)) for averaged in (False, True)]


def _with_targets(targets: Callable[[Array], Array]) -> Gradient:
    return lambda case: right(replace(case, y=targets(case.y)))


def _rounded(array: Array, bits: int) -> Array:
    """Round to so many bits of a float32's fraction, to nearest, ties to even."""
    dropped = 23 - bits
    integers = array.astype(np.float32).view(np.uint32)
    odd = (integers >> np.uint32(dropped)) & np.uint32(1)
    integers = integers + np.uint32((1 << (dropped - 1)) - 1) + odd
    return (integers & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)).view(np.float32).astype(np.float64)


def _stored_as(dtype: type[np.floating[Any]]) -> Callable[[Array], Array]:
    return lambda array: array.astype(dtype).astype(np.float64)


def _products_in(cast: Callable[[Array], Array], parts: Sequence[str]) -> Gradient:
    """Return the gradient with the operands of products rounded: those forward, those that go back, or those for dW."""

    def back(layer: int, deltas: list[Array], weights: list[Array], inputs: list[Array]) -> Array:  # noqa: ARG001 (a Back)
        return cast(deltas[0]) @ cast(weights[layer + 1])

    def gradient(case: Case) -> Parameters:
        trace = backpropagate(
            case,
            cast=cast if "forward" in parts else _as_it_is,
            back=back if "back" in parts else back_through_weights,
        )
        return trace.gradient(cast=cast if "dW" in parts else _as_it_is)

    return gradient


def _inputs_in(cast: Callable[[Array], Array]) -> Gradient:
    return lambda case: right(replace(case, parameters=_mapped(case.parameters, cast, cast), x=cast(case.x)))


def _result_in(cast: Callable[[Array], Array]) -> Gradient:
    return lambda case: _mapped(right(case), cast, cast)


_PRECISIONS: list[tuple[str, Callable[[Array], Array]]] = [
    ("float32", _stored_as(np.float32)),
    ("float16 or TF32", lambda array: _rounded(array, 10)),
    ("bfloat16", lambda array: _rounded(array, 7)),
]

GRADIENT_MISTAKES = (
    GradientMistake(
        "the slope of the sigmoid is missing at the output: this is the gradient of the cross-entropy, "
        "not of the quadratic cost",
        _with(output_slope=no_slope),
    ),
    GradientMistake(
        "the last delta is multiplied by the slope of the sigmoid: this is the gradient of the quadratic cost, "
        "not of the cross-entropy",
        _with(output_slope=slope_of_sigmoid),
    ),
    *_slope_mistakes("the slope of the sigmoid is missing", no_slope)[1:],
    GradientMistake("the biases are ignored in the forward pass", _with(bias=_no_bias)),
    GradientMistake("the biases are subtracted in the forward pass", _with(bias=lambda b, _: -b)),
    GradientMistake("the biases are added along the axis of the examples", _with(bias=_bias_along_examples)),
    GradientMistake("delta goes back through the transposed weights", _with(back=_transposed_if_square)),
    GradientMistake(
        "delta goes back through the weights of the wrong layer",
        _with(back=lambda layer, deltas, weights, _: deltas[0] @ weights[layer]),
    ),
    GradientMistake(
        "every layer starts from the output's delta instead of the next layer's",
        _with(back=lambda layer, deltas, weights, _: deltas[-1] @ weights[layer + 1]),
    ),
    GradientMistake(
        "delta is divided by the number of examples again at every layer",
        _scaled_back(lambda examples: 1 / examples),
    ),
    GradientMistake("delta is multiplied by 2 at every layer", _scaled_back(lambda _: 2.0)),
    GradientMistake(
        "the gradients of the weights are transposed", lambda case: _mapped(right(case), lambda w: w.T, lambda b: b)
    ),
    GradientMistake(
        "the gradients are in the order of the last layer first",
        lambda case: Parameters(right(case).weights[::-1], right(case).biases[::-1]),
    ),
    GradientMistake("weights and biases are swapped", lambda case: Parameters(right(case).biases, right(case).weights)),
    GradientMistake(
        "the gradients of the biases are columns instead of vectors",
        lambda case: _mapped(right(case), lambda w: w, lambda b: b[:, np.newaxis]),
    ),
    GradientMistake(
        "the gradients of the biases are rows of a matrix instead of vectors",
        lambda case: _mapped(right(case), lambda w: w, lambda b: b[np.newaxis]),
    ),
    GradientMistake(
        "the gradients of the weights are flattened", lambda case: _mapped(right(case), np.ravel, lambda b: b)
    ),
    *_slope_mistakes(
        "the slope is that of the sigmoid at a instead of at z", lambda _, a: slope_of_sigmoid(a, sigmoid(a))
    ),
    *_slope_mistakes("the slope is z(1 - z) instead of a(1 - a)", lambda z, _: z * (1.0 - z)),
    *_slope_mistakes("the slope is that of tanh, 1 - a^2, instead of a(1 - a)", lambda _, a: 1.0 - a * a),
    *_slope_mistakes("the slope is a instead of a(1 - a)", lambda _, a: a),
    *_slope_mistakes("the slope is 1 - a instead of a(1 - a)", lambda _, a: 1.0 - a),
    *_slope_mistakes("the slope is a(1 + a) instead of a(1 - a)", lambda _, a: a * (1.0 + a)),
    GradientMistake(
        "the output layer is linear: its sigmoid is missing", _with(output=lambda z: z, output_slope=no_slope)
    ),
    GradientMistake(
        "no layer has a sigmoid: the network is linear",
        _with(hidden=lambda z: z, output=lambda z: z, hidden_slope=no_slope, output_slope=no_slope),
    ),
    GradientMistake(
        "the hidden layers compute tanh instead of the sigmoid",
        _with(hidden=np.tanh, hidden_slope=lambda _, a: 1.0 - a * a),
    ),
    GradientMistake(
        "all layers compute tanh instead of the sigmoid",
        _with(
            hidden=np.tanh,
            output=np.tanh,
            hidden_slope=lambda _, a: 1.0 - a * a,
            output_slope=lambda _, a: 1.0 - a * a,
        ),
    ),
    GradientMistake(
        "the hidden layers compute ReLU instead of the sigmoid",
        _with(hidden=lambda z: np.maximum(z, 0.0), hidden_slope=lambda z, _: np.where(z > 0.0, 1.0, 0.0)),
    ),
    GradientMistake(
        "the output is a softmax with the cross-entropy instead of a sigmoid with the quadratic cost",
        _with(output=_softmax, output_slope=no_slope),
    ),
    GradientMistake(
        "the weights' gradients are products with the layers' own outputs instead of their inputs",
        _product_inputs(lambda trace: trace.activations[1:]),
    ),
    GradientMistake(
        "the weights' gradients are products with z instead of the activation",
        _product_inputs(lambda trace: [trace.activations[0], *trace.zs[:-1]]),
    ),
    GradientMistake(
        "every entry is the sum over all units of the layer",
        _bias_sums(lambda delta: np.full(delta.shape[1], delta.sum())),
    ),
    GradientMistake(
        "delta is summed over the units instead of the examples", _bias_sums(lambda delta: delta.sum(axis=1))
    ),
    GradientMistake("the targets are ignored", _with_targets(np.zeros_like)),
    GradientMistake("all examples have the target of the first", _with_targets(lambda y: np.repeat(y[:1], len(y), 0))),
    GradientMistake("x and y are not paired: the targets are in reverse", _with_targets(lambda y: y[::-1])),
    GradientMistake(
        "x and y are not paired: each target is the next example's", _with_targets(lambda y: np.roll(y, -1, 0))
    ),
    GradientMistake(
        "x and y are not paired: each target is the last example's", _with_targets(lambda y: np.roll(y, 1, 0))
    ),
    *_example_mistakes("only the first example is used", lambda _: slice(0, 1)),
    *_example_mistakes("only the last example is used", lambda _: slice(-1, None)),
    *_example_mistakes("the last example is left out", lambda _: slice(0, -1)),
    *_example_mistakes("the first example is left out", lambda _: slice(1, None)),
    *_example_mistakes("only the first half of the examples is used", lambda count: slice(0, count // 2)),
)

PRECISION_MISTAKES = (
    *(GradientMistake(f"the result is rounded to {name}", _result_in(cast)) for name, cast in _PRECISIONS),
    *(
        GradientMistake(f"{words} are computed in {name}", _products_in(cast, parts))
        for words, parts in (
            ("the products", ("forward", "back", "dW")),
            ("the forward products", ("forward",)),
            ("the products that take delta back", ("back",)),
            ("the products of the weights' gradients", ("dW",)),
        )
        for name, cast in _PRECISIONS
    ),
    *(GradientMistake(f"parameters and inputs are rounded to {name}", _inputs_in(cast)) for name, cast in _PRECISIONS),
)


# --- Mistakes in steps and epochs --------------------------------------------------------------------------------


def descend(
    case: Case,
    batches: Sequence[Rows],
    learning_rate: float,
    gradient: Gradient = right,
    factors: Callable[[str, int], float] = lambda _kind_and_layer, _examples: 1.0,
    momentum: float = 0.0,
) -> Parameters:
    """Return the parameters after gradient steps; `factors` is of a tensor's name and the number of examples."""
    parameters = case.parameters
    previous = _mapped(parameters, np.zeros_like, np.zeros_like)
    for rows in batches:
        part = gradient(case.at(parameters).only(rows))
        updated: list[list[Array]] = []
        for kind, tensors, dps, olds in zip(("weights", "biases"), parameters, part, previous, strict=True):
            updated.append([])
            for layer, (p, dp, old) in enumerate(zip(tensors, dps, olds, strict=True)):
                if p.shape != dp.shape:
                    raise ValueError("a gradient of another shape cannot be subtracted")
                factor = factors(f"{kind}[{layer}]", len(rows))
                updated[-1].append(p - learning_rate * factor * (dp + momentum * old))
        previous = Parameters(
            [dp + momentum * old for dp, old in zip(part.weights, previous.weights, strict=True)],
            [dp + momentum * old for dp, old in zip(part.biases, previous.biases, strict=True)],
        )
        parameters = Parameters(*updated)
    return parameters


def _steps(batches: Callable[[Descent], Sequence[Rows]]) -> Callable[[Case, Descent], Parameters]:
    """Return the parameters after other mini-batches than those asked for."""
    return lambda case, descent: descend(case, batches(descent), descent.learning_rate)


def _in_epochs(change: Callable[[Rows, list[Rows]], Sequence[Rows]]) -> Callable[[Case, Descent], Parameters]:
    """Return the parameters where every epoch has other mini-batches, of its order and its own mini-batches."""
    return _steps(
        lambda descent: [rows for epoch in descent.epochs for rows in change(np.concatenate(epoch), list(epoch))]
    )


def _cut(order: Rows, batches: Sequence[Rows]) -> list[Rows]:
    """Cut an order into mini-batches as large as those given."""
    return np.split(order, np.cumsum([len(rows) for rows in batches])[:-1])


def _filled_up(case: Case, descent: Descent) -> Parameters:
    """Fill up the last mini-batch of each epoch with the first examples of its order."""
    batches: list[Rows] = []
    for epoch in descent.epochs:
        order = np.concatenate(epoch)
        filled = np.resize(order, -(-len(order) // case.batch_size) * case.batch_size)
        batches += np.split(filled, len(filled) // case.batch_size)
    return descend(case, batches, descent.learning_rate)


def _without_last(*, smaller: bool) -> Callable[[Case, Descent], Parameters]:
    """Leave out the last mini-batch of each epoch if it is, or is not, smaller than the batch size."""

    def parameters(case: Case, descent: Descent) -> Parameters:
        if any((len(epoch[-1]) < case.batch_size) is not smaller for epoch in descent.epochs):
            raise ValueError("not the kind of epoch this mistake is about")
        if len(descent.batches) == 1 and not smaller:
            raise ValueError("a single step that is left out is a step that is not applied")
        batches = [rows for epoch in descent.epochs for rows in epoch[:-1]]
        return descend(case, batches, descent.learning_rate)

    return parameters


def _short_mean(case: Case, descent: Descent) -> Parameters:
    """Divide the sums of all mini-batches by the batch size."""
    return descend(case, descent.batches, descent.learning_rate, factors=lambda _, examples: examples / case.batch_size)


def _moved(parameters: Parameters, start: Parameters, end: Parameters) -> Parameters:
    """Move parameters by the difference of two others."""
    return Parameters(
        [p + b - a for p, a, b in zip(parameters.weights, start.weights, end.weights, strict=True)],
        [p + b - a for p, a, b in zip(parameters.biases, start.biases, end.biases, strict=True)],
    )


def _at_initial(case: Case, descent: Descent) -> Parameters:
    """Subtract the gradients at the initial parameters of each epoch."""
    parameters = case.parameters
    for epoch in descent.epochs:
        start = parameters
        for rows in epoch:
            parameters = _moved(parameters, start, descend(case.at(start), [rows], descent.learning_rate))
    return parameters


def _unpaired(sorted_x: bool) -> Callable[[Case, Descent], Parameters]:
    """Apply the order to x or to y only."""

    def parameters(case: Case, descent: Descent) -> Parameters:
        after = case.parameters
        for epoch in descent.epochs:
            order = np.concatenate(epoch)
            for rows, stored in zip(epoch, _cut(np.sort(order), epoch), strict=True):
                x, y = (case.x[stored], case.y[rows]) if sorted_x else (case.x[rows], case.y[stored])
                mixed = replace(case.at(after), x=x, y=y)
                after = descend(mixed, [np.arange(len(x))], descent.learning_rate)
        return after

    return parameters


def _shuffled_in_place(descent: Descent) -> list[Rows]:
    """Return the mini-batches when each epoch's order is applied to the data as the one before has left it."""
    result: list[Rows] = []
    left = np.arange(sum(map(len, descent.epochs[0])))
    for epoch in descent.epochs:
        result += [left[rows] for rows in epoch]
        left = left[np.concatenate(epoch)]
    return result


def _looking_ahead(case: Case, descent: Descent) -> Parameters:
    """Take each step with the gradient at the parameters that the step leads to."""

    def gradient(part: Case) -> Parameters:
        return right(part.at(descend(part, [np.arange(len(part.x))], descent.learning_rate)))

    return descend(case, descent.batches, descent.learning_rate, gradient)


def _updated_while_going_back(case: Case, descent: Descent) -> Parameters:
    """Take delta back through weights that have just been updated."""

    def back(layer: int, deltas: list[Array], weights: list[Array], inputs: list[Array]) -> Array:
        updated = weights[layer + 1] - descent.learning_rate * deltas[0].T @ inputs[layer + 1]  # (n_out, n_in)
        return deltas[0] @ updated

    return descend(case, descent.batches, descent.learning_rate, _with(back=back))


def _one_step_behind(case: Case, descent: Descent) -> Parameters:
    """Take each step with the gradient at the parameters before the last step."""
    behind = parameters = case.parameters
    for rows in descent.batches:
        moved = descend(case.at(behind), [rows], descent.learning_rate)
        behind, parameters = parameters, _moved(parameters, behind, moved)
    return parameters


def _back_through_loaded(case: Case, descent: Descent) -> Parameters:
    """Take delta back through the weights as they were before the first step."""
    loaded = case.parameters.weights
    gradient = _with(back=lambda layer, deltas, _weights, _inputs: deltas[0] @ loaded[layer + 1])
    return descend(case, descent.batches, descent.learning_rate, gradient)


def _with_momentum(momentum: float) -> Callable[[Case, Descent], Parameters]:
    return lambda case, descent: descend(case, descent.batches, descent.learning_rate, momentum=momentum)


def _stored_in(cast: Callable[[Array], Array]) -> Callable[[Case, Descent], Parameters]:
    """Round the parameters after each step."""

    def parameters(case: Case, descent: Descent) -> Parameters:
        after = _mapped(case.parameters, cast, cast)
        for rows in descent.batches:
            after = _mapped(descend(case.at(after), [rows], descent.learning_rate), cast, cast)
        return after

    return parameters


def _moves(factor: Factor, tensors: Callable[[str, int], bool]) -> Callable[[Case, Descent], Parameters]:
    """Return the parameters where the steps of some tensors, chosen by name and number of layers, are multiplied."""

    def parameters(case: Case, descent: Descent) -> Parameters:
        layers, outputs = len(case.parameters.biases), case.y.shape[1]

        def factors(name: str, examples: int) -> float:
            scale = Scale(examples, outputs, case.batch_size, descent.learning_rate)
            return factor.value(scale) if tensors(name, layers) else 1.0

        return descend(case, descent.batches, descent.learning_rate, factors=factors)

    return parameters


def _scaled_moves() -> Iterator[StepMistake]:
    subjects: list[tuple[str, Callable[[str, int], bool]]] = [
        ("every parameter", lambda _name, _layers: True),
        ("every bias", lambda name, _: name.startswith("biases")),
        ("every weight", lambda name, _: name.startswith("weights")),
        ("every parameter of the first layer", lambda name, _: name.endswith("[0]")),
        ("every parameter of the last layer", lambda name, layers: name.endswith(f"[{layers - 1}]")),
        ("every parameter but those of the first layer", lambda name, _: not name.endswith("[0]")),
        ("every parameter but those of the last layer", lambda name, layers: not name.endswith(f"[{layers - 1}]")),
    ]
    for subject, tensors in subjects:
        for factor in FACTORS:
            words = factor.step.replace("{k} times ", "")  # k differs between mini-batches of different size
            yield StepMistake(f"{subject} {words}", _moves(factor, tensors))


STEP_MISTAKES = (
    StepMistake("the last, smaller mini-batch is left out", _without_last(smaller=True)),
    StepMistake("the last mini-batch is left out", _without_last(smaller=False)),
    StepMistake("the last, smaller mini-batch is filled up with the first examples", _filled_up),
    StepMistake("the last, smaller mini-batch is averaged over the whole batch size", _short_mean),
    StepMistake(
        "the order is ignored: the examples are taken as they are stored",
        _in_epochs(lambda order, batches: _cut(np.sort(order), batches)),
    ),
    StepMistake("the mini-batches are taken in reverse", _in_epochs(lambda _, batches: batches[::-1])),
    StepMistake("the order is read from its end", _in_epochs(lambda order, batches: _cut(order[::-1], batches))),
    StepMistake(
        "the inverse of the order is used", _in_epochs(lambda order, batches: _cut(np.argsort(order), batches))
    ),
    StepMistake("x and y are not paired: the order is applied to y only", _unpaired(sorted_x=True)),
    StepMistake("x and y are not paired: the order is applied to x only", _unpaired(sorted_x=False)),
    StepMistake(
        "only the first epoch has an effect", lambda case, d: descend(case, list(d.epochs[0]), d.learning_rate)
    ),
    StepMistake("every epoch goes through the order of the first", _steps(lambda d: [*d.epochs[0]] * len(d.epochs))),
    StepMistake(
        "the data is shuffled in place: the next epoch's order means other examples", _steps(_shuffled_in_place)
    ),
    StepMistake("only the first mini-batch is used", _in_epochs(lambda _, batches: batches[:1])),
    StepMistake("only the last mini-batch is used", _in_epochs(lambda _, batches: batches[-1:])),
    StepMistake("every step uses the first mini-batch", _in_epochs(lambda _, batches: batches[:1] * len(batches))),
    StepMistake("every step uses the last mini-batch", _in_epochs(lambda _, batches: batches[-1:] * len(batches))),
    StepMistake("one step with all examples instead of one for each mini-batch", _in_epochs(lambda order, _: [order])),
    StepMistake(
        "one step for each example instead of one for each mini-batch",
        _in_epochs(lambda order, _: list(order[:, None])),
    ),
    StepMistake("all gradients of an epoch are computed at its initial parameters", _at_initial),
    StepMistake("the gradient is computed at the parameters before the last step", _one_step_behind),
    StepMistake(
        "delta goes back through a copy of the weights that is stale after the first step", _back_through_loaded
    ),
    StepMistake("the step is taken twice", _in_epochs(lambda _, batches: [rows for rows in batches for _ in range(2)])),
    StepMistake("the gradient is computed at the parameters after the step", _looking_ahead),
    StepMistake("delta goes back through weights that are already updated", _updated_while_going_back),
    StepMistake("the gradients of earlier steps are not cleared: they accumulate", _with_momentum(1.0)),
    StepMistake("momentum: 0.9 of the last step is added to each step", _with_momentum(0.9)),
    StepMistake("momentum: half of the last step is added to each step", _with_momentum(0.5)),
)
STORAGE_MISTAKES = tuple(
    StepMistake(f"the parameters are stored in {name}", _stored_in(cast)) for name, cast in _PRECISIONS
)
SCALED_STEPS = tuple(_scaled_moves())
