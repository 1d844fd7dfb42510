"""Results in another form than the contract's: what was meant by it, and what is wrong with the form.

A result is first brought into the contract's form, so that its values can be compared and a second mistake be found.
Only forms that the shapes allow are considered.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from impls.conformance.backprop import Backprop, Case
from impls.interface import Array, Parameters

Tensors = dict[str, Array]


class TensorForm(NamedTuple):
    """A form in which all gradients of the weights, or all of the biases, are returned."""

    sentence: str  # "" for the contract's form
    make: Callable[[Array], Array] = lambda tensor: tensor  # from the gradient in the contract's form
    bias_gradient: Callable[[Array], Array] | None = None  # of delta (B, n_out), if not its sum over the examples


WEIGHT_FORMS = (
    TensorForm(""),
    TensorForm("the gradients of the weights are transposed", np.transpose),
    TensorForm("the gradients of the weights are flattened", np.ravel),
)
BIAS_FORMS = (
    TensorForm(""),
    TensorForm("the gradients of the biases are columns instead of vectors", lambda b: b[:, np.newaxis]),
    TensorForm("the gradients of the biases are rows of a matrix instead of vectors", lambda b: b[np.newaxis]),
    TensorForm("the gradient of each layer's biases is one number instead of a vector", np.sum),
    TensorForm("the gradient of each layer's biases is one number instead of a vector", lambda b: b.sum(keepdims=True)),
    TensorForm(
        "the gradient of each layer's biases is one number instead of a vector",
        lambda b: b.sum(keepdims=True)[np.newaxis],
    ),
    TensorForm("the gradients of the biases are not summed over the examples", bias_gradient=lambda delta: delta),
    TensorForm(
        "the gradients of the biases are summed over the units instead of the examples",
        bias_gradient=lambda delta: delta.sum(axis=1),
    ),
)


class Structure(NamedTuple):
    """How the tensors are arranged: the sentence, and the weights and biases taken out of a result."""

    sentence: str
    take: Callable[[Any], tuple[Any, Any]]


def _pair(result: Any) -> tuple[Any, Any]:
    weights, biases = result
    return list(weights), list(biases)


def _swapped(result: Any) -> tuple[Any, Any]:
    biases, weights = result
    return list(weights), list(biases)


def _pairs_by_layer(result: Any) -> tuple[Any, Any]:
    weights, biases = zip(*result, strict=True)
    return list(weights), list(biases)


def _flat_list(result: Any) -> tuple[Any, Any]:
    return list(result[0::2]), list(result[1::2])


STRUCTURES = (
    Structure("", _pair),
    Structure("weights and biases are swapped", _swapped),
    Structure("expected all weights, then all biases: the result has a pair for each layer", _pairs_by_layer),
    Structure("expected all weights, then all biases: the result is one flat list", _flat_list),
)


@dataclass(frozen=True)
class Form:
    """A form that the shapes of a result allow, and the result's tensors by name, each in that form."""

    sentences: tuple[str, ...]  # what is wrong with it; none for the contract's form
    weights: TensorForm
    biases: TensorForm
    tensors: Tensors

    @property
    def parts(self) -> dict[str, Callable[..., Any]]:
        """Return the part of backpropagation that this form replaces, if any."""
        return _parts(self.biases.bias_gradient)

    def of(self, gradient: Parameters) -> Tensors:
        """Return a gradient's tensors as they look in this form."""
        tensors = {f"weights[{n}]": self.weights.make(W) for n, W in enumerate(gradient.weights)}
        return tensors | {f"biases[{n}]": np.asarray(self.biases.make(b)) for n, b in enumerate(gradient.biases)}


def possible_forms(result: Any, case: Case) -> list[Form]:
    """Return the forms that a gradient may have, those with the fewest mistakes first; none if it cannot be read."""
    parts = {form.bias_gradient for form in BIAS_FORMS}
    gradients = {part: replace(Backprop(), **_parts(part)).gradient(case) for part in parts}
    forms = [
        form
        for form in _forms(result)
        if _shapes(form.tensors) == _shapes(form.of(gradients[form.biases.bias_gradient]))
    ]
    return sorted(forms, key=lambda form: len(form.sentences))


def _forms(result: Any) -> Iterator[Form]:
    for structure, backwards in product(STRUCTURES, (False, True)):
        try:
            weights, biases = (
                [np.asarray(tensor, np.float64) for tensor in tensors] for tensors in structure.take(result)
            )
        except (TypeError, ValueError, IndexError, KeyError):
            continue
        order = "the gradients are in the order of the last layer first" if backwards else ""
        step = -1 if backwards else 1
        tensors = {f"weights[{n}]": W for n, W in enumerate(weights[::step])}
        tensors |= {f"biases[{n}]": b for n, b in enumerate(biases[::step])}
        for weight_form, bias_form in product(WEIGHT_FORMS, BIAS_FORMS):
            sentences = (structure.sentence, order, weight_form.sentence, bias_form.sentence)
            yield Form(tuple(filter(None, sentences)), weight_form, bias_form, tensors)


def _parts(bias_gradient: Callable[[Array], Array] | None) -> dict[str, Callable[..., Any]]:
    return {"bias_gradient": bias_gradient} if bias_gradient else {}


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}
