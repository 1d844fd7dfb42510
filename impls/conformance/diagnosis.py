"""The likely mistakes behind a wrong gradient or wrong parameters, each in a sentence.

A result in another form than the contract's is first brought into that form. Its values are then compared with what
backpropagation computes with ordinary mistakes in it (`backprop`), one and then two of them, up to a multiple of each
tensor (`explanation`). Where nothing explains a result, the diagnosis is "".
"""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from impls.conformance.backprop import STEP_MISTAKES, Epochs, Inputs, correct_gradient, descend, inputs_in_float64
from impls.conformance.explanation import Tensors, WrongResult, explain, lower_precision, tensors_of
from impls.conformance.reference import elementwise
from impls.conformance.tolerance import norms, step_rounding
from impls.conformance.trial import ALL, Factory, Trial
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters, has_own_gradient
from impls.support.mpiexec import launched

# The layer sizes, the batch size, the examples of a gradient and of an epoch: no two numbers are alike in the first
# network, so that no mistake looks like another. In the second, all widths are equal.
GENERIC = (Network((8, 7, 5, 3), 13, 30), Network((6, 6, 6, 6), 13, 30))
GENERIC_EXAMPLES = slice(11)  # of a gradient and of a step
GENERIC_RATE = 2.3  # whose square and inverse are different from all other numbers


@lru_cache(maxsize=32)
def likely_mistake(factory: Factory, dtype: str, threads: int = 1) -> str:
    """Return the likely mistakes in a gradient, a step or two epochs of a generic network; "" if none are known.

    Takes a second. Where an instance computes with other ranks, nothing is looked for: they would have to do the same.
    """
    if launched():
        return ""
    explanations: list[list[str]] = [[]]
    for network in GENERIC:
        trial = Trial(factory, dtype, threads, network)
        for mistakes in (_mistakes_in_gradient, _mistakes_in_step, _mistakes_in_epochs):
            with suppress(Exception), trial.open() as implementation:
                explanations.append(mistakes(trial, implementation))
    longest = max(explanations, key=len)
    return "; and ".join(longest)


def _mistakes_in_gradient(trial: Trial, implementation: Implementation) -> list[str]:
    if not has_own_gradient(type(implementation)):
        return []
    inputs = _generic_inputs(trial)
    batch = trial.prepare(implementation, GENERIC_EXAMPLES)
    result = implementation.gradients(batch)
    sentences = gradient_mistakes(result, inputs)
    implementation.load(trial.draw_parameters())
    if _is_same_and_not_zero(result, implementation.gradients(batch)):
        sentences.append("the gradient is the same whatever is loaded: it is computed with parameters of its own")
    return sentences


def _mistakes_in_step(trial: Trial, implementation: Implementation) -> list[str]:
    inputs = _generic_inputs(trial)
    batch = trial.prepare(implementation, GENERIC_EXAMPLES)
    implementation.step(batch, inputs.learning_rate)
    return step_mistakes(implementation.parameters(), inputs, [[np.arange(len(inputs.x))]])


def _mistakes_in_epochs(trial: Trial, implementation: Implementation) -> list[str]:
    inputs = _generic_inputs(trial, ALL)
    orders = [trial.order, trial.order[::-1].copy()]
    data = implementation.prepare_data(trial.x, trial.y)
    for order in orders:
        implementation.epoch(data, order, inputs.learning_rate)
    return step_mistakes(implementation.parameters(), inputs, [trial.mini_batches(order) for order in orders])


def _generic_inputs(trial: Trial, rows: slice = GENERIC_EXAMPLES) -> Inputs:
    batch_size = trial.network.batch_size
    return inputs_in_float64(trial.parameters, trial.x[rows], trial.y[rows], trial.cost, batch_size, GENERIC_RATE)


def _is_same_and_not_zero(result: Any, second: Any) -> bool:
    """Compare two results, lists of arrays in any arrangement."""
    if isinstance(result, list | tuple):
        return all(_is_same_and_not_zero(*pair) for pair in zip(result, second, strict=True))
    return np.array_equal(result, second) and bool(np.any(result))


# --- Given results ---------------------------------------------------------------------------------------------------


def gradient_mistakes(result: Any, inputs: Inputs) -> list[str]:
    """Return the likely mistakes in a gradient, each in a sentence; [] if it is correct or none are known."""
    with np.errstate(all="ignore"):
        correct = tensors_of(correct_gradient(inputs))
        explanations: list[list[str]] = []
        forms = _possible_forms(result, inputs)
        for form_sentences, tensors in forms:
            if any(len(sentences) <= len(form_sentences) for sentences in explanations):
                break
            wrong = WrongResult(inputs, tensors, correct)
            if not wrong.wrong_numbers:
                return form_sentences
            sentences = _not_finite(tensors) or explain(wrong)
            if sentences:
                explanations.append(form_sentences + sentences)
        if explanations:
            return min(explanations, key=len)
        for form_sentences, tensors in forms:
            if all(tensor.shape == correct[name].shape for name, tensor in tensors.items()):
                return form_sentences or lower_precision(WrongResult(inputs, tensors, correct))
        return []


def step_mistakes(result: Parameters, inputs: Inputs, epochs: Epochs) -> list[str]:
    """Return the likely mistakes in the parameters after steps; [] if they are correct or none are known.

    `epochs` are lists of mini-batches, each given by the indices of its examples; a single step is `[[np.arange(B)]]`.
    """
    batches = [rows for epoch in epochs for rows in epoch]
    rate = inputs.learning_rate or 1.0

    def gradient(parameters: Parameters) -> Tensors:
        return tensors_of(elementwise(lambda p, after: (p - after) / rate, inputs.parameters, parameters))

    with np.errstate(all="ignore"):
        not_finite = _not_finite(tensors_of(result))
        if not_finite:
            return not_finite
        rounding = step_rounding(sum(map(len, batches)), inputs.dtype) / rate
        roundings = {name: rounding * norm for name, norm in norms(result).items()}
        wrong = WrongResult(inputs, gradient(result), gradient(descend(inputs, batches)), roundings)
        if not wrong.wrong_numbers:
            return []
        sentences = explain(wrong) if len(batches) == 1 else []
        for mistake in STEP_MISTAKES:
            if not sentences and wrong.is_explained_by(gradient(mistake.parameters(inputs, epochs))):
                sentences = [mistake.sentence]
        return sentences or lower_precision(wrong)


def _not_finite(tensors: Tensors) -> list[str]:
    names = [name for name, tensor in tensors.items() if not np.all(np.isfinite(tensor))]
    return [f"NaN or infinity in {', '.join(names)}: from 0/0, inf - inf, or unwritten memory"] if names else []


# --- Forms -----------------------------------------------------------------------------------------------------------

# What is wrong with the form of a result, and how to bring it into the contract's form; the first of each is correct.
STRUCTURES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("", lambda result: result),
    ("weights and biases are swapped", lambda result: result[::-1]),
    (
        "expected all weights, then all biases: the result has a pair for each layer",
        lambda result: zip(*result, strict=True),
    ),
)
ORDERS = (("", 1), ("the gradients are in the order of the last layer first", -1))
WEIGHT_FORMS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("", np.asarray),
    ("the gradients of the weights are transposed", np.transpose),
)
BIAS_FORMS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("", np.asarray),
    ("the gradients of the biases are columns instead of vectors", lambda b: np.squeeze(b, axis=1)),
    ("the gradients of the biases are rows of a matrix instead of vectors", lambda b: np.squeeze(b, axis=0)),
)


def _possible_forms(result: Any, inputs: Inputs) -> list[tuple[list[str], Tensors]]:
    """Return what may be wrong with the form of a gradient, with its tensors in the contract's form.

    Those with the fewest mistakes come first. The shapes of biases are left open: a wrong sum may be behind them.
    """
    shapes = [W.shape for W in inputs.parameters.weights]
    forms = []
    for structure, order, weight_form, bias_form in product(STRUCTURES, ORDERS, WEIGHT_FORMS, BIAS_FORMS):
        try:
            weights, biases = structure[1](result)
            weights = [weight_form[1](np.asarray(W, np.float64)) for W in weights][:: order[1]]
            biases = [bias_form[1](np.asarray(b, np.float64)) for b in biases][:: order[1]]
        except (TypeError, ValueError, IndexError, KeyError):
            continue
        if [W.shape for W in weights] == shapes and len(biases) == len(weights):
            sentences = [form[0] for form in (structure, order, weight_form, bias_form) if form[0]]
            forms.append((sentences, tensors_of(Parameters(weights, biases))))
    return sorted(forms, key=lambda form: len(form[0]))
