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

from impls.conformance.backprop import STEP_MISTAKES, Case, Epochs, case_of, correct_gradient, descend
from impls.conformance.explanation import Target, Tensors, explain, lower_precision, tensors_of
from impls.conformance.tolerance import step_rounding
from impls.conformance.trial import Factory, Trial
from impls.conformance.violation import Network
from impls.interface import Array, Implementation, Parameters, has_own_gradient
from impls.support.mpiexec import launched

# The layer sizes, the batch size, the examples of a gradient and of an epoch: no two numbers are alike in the first
# network, so that no mistake looks like another. In the second, all widths are equal.
GENERIC = (Network((8, 7, 5, 3), 13, 30), Network((6, 6, 6, 6), 13, 30))
GENERIC_EXAMPLES = 11  # of a gradient and of a step
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
    return in_one(max(explanations, key=len))


def in_one(sentences: list[str]) -> str:
    """Return the sentences as one."""
    return "; and ".join(sentences)


def _mistakes_in_gradient(trial: Trial, implementation: Implementation) -> list[str]:
    if not has_own_gradient(type(implementation)):
        return []
    case = _generic_case(trial)
    batch = implementation.prepare(trial.x[:GENERIC_EXAMPLES], trial.y[:GENERIC_EXAMPLES])
    result = implementation.gradients(batch)
    sentences = gradient_mistakes(result, case)
    implementation.load(trial.draw_parameters())
    if _is_same_and_not_zero(result, implementation.gradients(batch)):
        sentences.append("the gradient is the same whatever is loaded: it is computed with parameters of its own")
    return sentences


def _mistakes_in_step(trial: Trial, implementation: Implementation) -> list[str]:
    case = _generic_case(trial)
    batch = implementation.prepare(trial.x[:GENERIC_EXAMPLES], trial.y[:GENERIC_EXAMPLES])
    implementation.step(batch, case.learning_rate)
    return step_mistakes(implementation.parameters(), case, [[np.arange(GENERIC_EXAMPLES)]])


def _mistakes_in_epochs(trial: Trial, implementation: Implementation) -> list[str]:
    case = _generic_case(trial, trial.network.examples)
    orders = [trial.order, trial.order[::-1].copy()]
    data = implementation.prepare_data(trial.x, trial.y)
    for order in orders:
        implementation.epoch(data, order, case.learning_rate)
    return step_mistakes(implementation.parameters(), case, [trial.mini_batches(order) for order in orders])


def _generic_case(trial: Trial, examples: int = GENERIC_EXAMPLES) -> Case:
    x, y = trial.x[:examples], trial.y[:examples]
    return case_of(trial.parameters, x, y, trial.cost, trial.network.batch_size, GENERIC_RATE)


def _is_same_and_not_zero(result: Any, other: Any) -> bool:
    """Compare two results, lists of arrays in any arrangement."""
    if isinstance(result, list | tuple):
        return all(_is_same_and_not_zero(*pair) for pair in zip(result, other, strict=True))
    return np.array_equal(result, other) and bool(np.any(result))


# --- Given results ---------------------------------------------------------------------------------------------------


def gradient_mistakes(result: Any, case: Case) -> list[str]:
    """Return the likely mistakes in a gradient, each in a sentence; [] if it is correct or none are known."""
    with np.errstate(all="ignore"):
        correct = tensors_of(correct_gradient(case))
        explanations: list[list[str]] = []
        forms = _possible_forms(result, case)
        for form_sentences, tensors in forms:
            if any(len(sentences) <= len(form_sentences) for sentences in explanations):
                break
            target = Target(case, tensors, correct)
            if not target.wrong_numbers:
                return form_sentences
            sentences = _not_finite(tensors) or explain(target, alone=not form_sentences)
            if sentences:
                explanations.append(form_sentences + sentences)
        if explanations:
            return min(explanations, key=len)
        for form_sentences, tensors in forms:
            if all(tensor.shape == correct[name].shape for name, tensor in tensors.items()):
                return form_sentences or lower_precision(Target(case, tensors, correct))
        return []


def step_mistakes(result: Any, case: Case, epochs: Epochs) -> list[str]:
    """Return the likely mistakes in the parameters after steps; [] if they are correct or none are known.

    `epochs` are lists of mini-batches, each given by the indices of its examples in the case; a single step is
    `[[np.arange(B)]]`.
    """
    before = tensors_of(case.parameters)
    try:
        after = tensors_of(result)
    except (TypeError, ValueError):
        return []
    if [tensor.shape for tensor in after.values()] != [tensor.shape for tensor in before.values()]:
        return []
    batches = [rows for epoch in epochs for rows in epoch]
    rounding = step_rounding(sum(map(len, batches)), case.dtype)
    rate = case.learning_rate or 1.0

    def gradient(parameters: Tensors) -> Tensors:
        return {name: (tensor - parameters[name]) / rate for name, tensor in before.items()}

    with np.errstate(all="ignore"):
        if _not_finite(after):
            return _not_finite(after)
        roundings = {name: rounding * float(np.linalg.norm(tensor)) / rate for name, tensor in after.items()}
        correct = gradient(tensors_of(descend(case, batches)))
        target = Target(case, gradient(after), correct, roundings)
        if not target.wrong_numbers:
            return []
        if len(batches) == 1 and (sentences := explain(target)):
            return sentences
        for mistake in STEP_MISTAKES:
            if target.is_explained_by(gradient(tensors_of(mistake.parameters(case, epochs)))):
                return [mistake.sentence]
        return lower_precision(target)


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


def _possible_forms(result: Any, case: Case) -> list[tuple[list[str], Tensors]]:
    """Return what may be wrong with the form of a gradient, with its tensors in the contract's form.

    Those with the fewest mistakes come first. The shapes of biases are left open: a wrong sum may be behind them.
    """
    shapes = [W.shape for W in case.parameters.weights]
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
