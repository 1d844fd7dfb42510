"""Known mistakes in a gradient: what each would compute, in float64, and its one sentence.

The mistakes are entries of tables; a new one is one more entry. The first entry that reproduces a wrong result is
taken, so the likelier mistakes come first. A function raises ValueError or IndexError where the shapes of a network do
not allow its mistake.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from impls.conformance.variants import (
    Case,
    Elementwise,
    Gradient,
    GradientMistake,
    Trace,
    as_it_is,
    back_through_weights,
    backpropagate,
    gradient_with,
    mapped,
    no_slope,
    right,
    scaled,
    sigmoid,
    slope_of_sigmoid,
)
from impls.interface import Array, Parameters


def _slope_mistakes(sentence: str, slope: Elementwise) -> list[GradientMistake]:
    """Return three entries for a wrong slope: at the output, in the hidden layers, everywhere."""
    return [
        GradientMistake(f"{sentence} at the output", gradient_with(output_slope=slope)),
        GradientMistake(f"{sentence} in the hidden layers", gradient_with(hidden_slope=slope)),
        GradientMistake(f"{sentence} in all layers", gradient_with(hidden_slope=slope, output_slope=slope)),
    ]


def _transposed_if_square(layer: int, deltas: list[Array], weights: list[Array], _inputs: list[Array]) -> Array:
    W = weights[layer + 1]
    return deltas[0] @ (W.T if W.shape[0] == W.shape[1] else W)


def _scaled_back(factor: Callable[[int], float]) -> Gradient:
    """Return the gradient with every delta but the last multiplied once more."""
    return gradient_with(
        back=lambda layer, deltas, weights, _: factor(len(deltas[0])) * back_through_weights(layer, deltas, weights, [])
    )


def _bias_along_examples(b: Array, examples: int) -> Array:
    return b[:, np.newaxis] if len(b) == examples else b


def _no_bias(b: Array, _examples: int) -> Array:
    return 0.0 * b


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    share: Array = e / e.sum(axis=1, keepdims=True)
    return share


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
        return right(part) if averaged else scaled(right(part), len(part.x) / len(case.x))

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

    def back(layer: int, deltas: list[Array], weights: list[Array], _inputs: list[Array]) -> Array:
        return cast(deltas[0]) @ cast(weights[layer + 1])

    def gradient(case: Case) -> Parameters:
        trace = backpropagate(
            case,
            cast=cast if "forward" in parts else as_it_is,
            back=back if "back" in parts else back_through_weights,
        )
        return trace.gradient(cast=cast if "dW" in parts else as_it_is)

    return gradient


def _inputs_in(cast: Callable[[Array], Array]) -> Gradient:
    return lambda case: right(replace(case, parameters=mapped(case.parameters, cast, cast), x=cast(case.x)))


def _result_in(cast: Callable[[Array], Array]) -> Gradient:
    return lambda case: mapped(right(case), cast, cast)


PRECISIONS: list[tuple[str, Callable[[Array], Array]]] = [
    ("float32", _stored_as(np.float32)),
    ("float16 or TF32", lambda array: _rounded(array, 10)),
    ("bfloat16", lambda array: _rounded(array, 7)),
]

GRADIENT_MISTAKES = (
    GradientMistake(
        "the slope of the sigmoid is missing at the output: this is the gradient of the cross-entropy, "
        "not of the quadratic cost",
        gradient_with(output_slope=no_slope),
    ),
    GradientMistake(
        "the last delta is multiplied by the slope of the sigmoid: this is the gradient of the quadratic cost, "
        "not of the cross-entropy",
        gradient_with(output_slope=slope_of_sigmoid),
    ),
    *_slope_mistakes("the slope of the sigmoid is missing", no_slope)[1:],
    GradientMistake("the biases are ignored in the forward pass", gradient_with(bias=_no_bias)),
    GradientMistake("the biases are subtracted in the forward pass", gradient_with(bias=lambda b, _: -b)),
    GradientMistake("the biases are added along the axis of the examples", gradient_with(bias=_bias_along_examples)),
    GradientMistake("delta goes back through the transposed weights", gradient_with(back=_transposed_if_square)),
    GradientMistake(
        "delta goes back through the weights of the wrong layer",
        gradient_with(back=lambda layer, deltas, weights, _: deltas[0] @ weights[layer]),
    ),
    GradientMistake(
        "every layer starts from the output's delta instead of the next layer's",
        gradient_with(back=lambda layer, deltas, weights, _: deltas[-1] @ weights[layer + 1]),
    ),
    GradientMistake(
        "delta is divided by the number of examples again at every layer",
        _scaled_back(lambda examples: 1 / examples),
    ),
    GradientMistake("delta is multiplied by 2 at every layer", _scaled_back(lambda _: 2.0)),
    GradientMistake(
        "the gradients of the weights are transposed", lambda case: mapped(right(case), lambda w: w.T, lambda b: b)
    ),
    GradientMistake(
        "the gradients are in the order of the last layer first",
        lambda case: Parameters(right(case).weights[::-1], right(case).biases[::-1]),
    ),
    GradientMistake("weights and biases are swapped", lambda case: Parameters(right(case).biases, right(case).weights)),
    GradientMistake(
        "the gradients of the biases are columns instead of vectors",
        lambda case: mapped(right(case), lambda w: w, lambda b: b[:, np.newaxis]),
    ),
    GradientMistake(
        "the gradients of the biases are rows of a matrix instead of vectors",
        lambda case: mapped(right(case), lambda w: w, lambda b: b[np.newaxis]),
    ),
    GradientMistake(
        "the gradients of the weights are flattened", lambda case: mapped(right(case), np.ravel, lambda b: b)
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
        "the output layer is linear: its sigmoid is missing", gradient_with(output=lambda z: z, output_slope=no_slope)
    ),
    GradientMistake(
        "no layer has a sigmoid: the network is linear",
        gradient_with(hidden=lambda z: z, output=lambda z: z, hidden_slope=no_slope, output_slope=no_slope),
    ),
    GradientMistake(
        "the hidden layers compute tanh instead of the sigmoid",
        gradient_with(hidden=np.tanh, hidden_slope=lambda _, a: 1.0 - a * a),
    ),
    GradientMistake(
        "all layers compute tanh instead of the sigmoid",
        gradient_with(
            hidden=np.tanh,
            output=np.tanh,
            hidden_slope=lambda _, a: 1.0 - a * a,
            output_slope=lambda _, a: 1.0 - a * a,
        ),
    ),
    GradientMistake(
        "the hidden layers compute ReLU instead of the sigmoid",
        gradient_with(hidden=lambda z: np.maximum(z, 0.0), hidden_slope=lambda z, _: np.where(z > 0.0, 1.0, 0.0)),
    ),
    GradientMistake(
        "the output is a softmax with the cross-entropy instead of a sigmoid with the quadratic cost",
        gradient_with(output=_softmax, output_slope=no_slope),
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
    *(GradientMistake(f"the result is rounded to {name}", _result_in(cast)) for name, cast in PRECISIONS),
    *(
        GradientMistake(f"{words} are computed in {name}", _products_in(cast, parts))
        for words, parts in (
            ("the products", ("forward", "back", "dW")),
            ("the forward products", ("forward",)),
            ("the products that take delta back", ("back",)),
            ("the products of the weights' gradients", ("dW",)),
        )
        for name, cast in PRECISIONS
    ),
    *(GradientMistake(f"parameters and inputs are rounded to {name}", _inputs_in(cast)) for name, cast in PRECISIONS),
)
