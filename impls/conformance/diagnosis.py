"""The likely mistakes behind a wrong gradient or wrong parameters, each in a sentence.

What is wrong with the form of a result is settled first (`shapes`). Its values are then compared with what
backpropagation computes whose parts are replaced by ordinary mistakes (`backprop`), by one and then by two of them, and
each tensor with multiples of that (`scales`). An explanation is given only if the result agrees with it as closely as a
right result must agree with the reference, and if that cannot be chance. The explanation of the fewest mistakes is
taken; where nothing explains a result, the diagnosis is "".
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from impls.conformance.backprop import Backprop, Case, Mistake, Rows, compatible_pairs, mistakes_for, with_mistakes
from impls.conformance.comparison import named_tensors, step_rounding, tolerance
from impls.conformance.fit import DISTINCT, Fit, Target
from impls.conformance.scales import Multiples, Scale, subject_of
from impls.conformance.shapes import Form, Tensors, possible_forms
from impls.conformance.shares import unequal_shares
from impls.conformance.step_mistakes import STEP_MISTAKES, Descent, descend, right_gradient, scaled_steps
from impls.interface import Array, Parameters

SEARCH_SECONDS = 5.0  # for one result: the workload may be large
LOWER_PRECISION = {"float64": (1e-11, 1e-5), "float32": (1e-5, 5e-3)}  # relative errors, as of the next lower one
FEWEST_ROUNDED = 12  # numbers off by as much as in a lower precision: fewer may be off for another reason
AND = "; and "  # between the sentences of several mistakes
MOST_MISTAKES = 3  # of form and of values together


def diagnose(
    found: Any,
    parameters: Parameters,
    x: Array,
    y: Array,
    cost: str = "quadratic",
    *,
    batch_size: int = 0,
    others: Mapping[str, Parameters] | None = None,
    pairs: bool = True,
) -> str:
    """Return the likely mistakes in a gradient that is wrong, "" if none are known.

    `parameters`, `x` (B, n_0) and `y` (B, n_L) are what the gradient was asked of, in the implementation's dtype;
    `batch_size` is that of the construction, if it is larger. `others` are gradients that may have been confused with
    this one, or added to it, by name ("the mini-batch before"). Without `pairs`, which take a second, at most one part
    of backpropagation is taken to be wrong.
    """
    with np.errstate(all="ignore"):
        case = _case(parameters, x, y, cost, batch_size or len(x))
        forms = possible_forms(found, case)
        if not forms:
            return ""
        not_finite = _not_finite(forms[0].tensors)
        if not_finite:
            return AND.join((*forms[0].sentences, not_finite))
        dtype = parameters.biases[0].dtype.name
        target = None if forms[0].sentences else Target(forms[0].tensors, _tensors(right_gradient(case)), dtype)
        if target and not target.wrong:
            return ""
        explanation = _Search(case, dtype, steps=False, pairs=pairs).best(forms)
        if explanation:
            return AND.join(explanation)
        if target is None:  # shapes are certain, whatever is wrong with the values
            return AND.join(forms[0].sentences) if len(forms) == 1 else ""
        return (
            _confusion(target, right_gradient(case), others or {})
            or unequal_shares(target, case)
            or _lower_precision(target.tensors, target.right, dtype)
        )


def mistakes_of_form(result: Any, parameters: Parameters, x: Array, y: Array, cost: str = "quadratic") -> list[str]:
    """Return what is wrong with the form of a gradient, whatever its values; [] where that is not certain."""
    forms = possible_forms(result, _case(parameters, x, y, cost, len(x)))
    return list(forms[0].sentences) if forms and (len(forms) == 1 or not forms[0].sentences) else []


def diagnose_steps(
    found: Any,
    parameters: Parameters,
    x: Array,
    y: Array,
    epochs: Sequence[Sequence[Rows]],
    learning_rate: float,
    cost: str = "quadratic",
    *,
    batch_size: int = 0,
    pairs: bool = True,
) -> str:
    """Return the likely mistakes in parameters that are wrong after steps, "" if none are known.

    `parameters` are those before the steps. `epochs` are lists of mini-batches, each given by the indices of its
    examples in `x` (N, n_0) and `y` (N, n_L); a single step is `[[np.arange(B)]]`. The mistakes in the gradient are
    considered, too, in pairs as by `diagnose`.
    """
    with np.errstate(all="ignore"):
        descent = Descent(epochs, float(learning_rate))
        case = _case(parameters, x, y, cost, batch_size or max(map(len, descent.batches)), descent.learning_rate)
        try:
            tensors = _tensors(found)
        except (TypeError, ValueError):
            return ""
        before = _tensors(case.parameters)
        if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in before.items()}:
            return ""
        if _not_finite(tensors):
            return _not_finite(tensors)
        dtype = parameters.biases[0].dtype.name
        search = _StepSearch(case, descent, dtype, tensors)
        if len(descent.batches) > 1:
            return search.several_steps(gradients=True)
        return (
            search.several_steps(gradients=False)
            or AND.join(search.one_step(pairs=pairs))
            or _lower_precision(tensors, search.right, dtype)
        )


class _Search:
    """Looks for the fewest mistakes that explain a gradient, or a step divided by its learning rate."""

    def __init__(
        self, case: Case, dtype: str, *, steps: bool, pairs: bool, rounding: Mapping[str, float] | None = None
    ) -> None:
        self._case = case
        self._dtype = dtype
        self._steps = steps
        self._most_parts = 2 if pairs else 1
        self._rounding = rounding or {}
        self._deadline = time.monotonic() + SEARCH_SECONDS
        scale = Scale(len(case.x), case.y.shape[1], case.batch_size, case.learning_rate)
        names = list(_tensors(case.parameters))
        self._multiples = Multiples(scale, names, DISTINCT * tolerance(dtype), steps=steps)
        self._names = names

    def best(self, forms: Sequence[Form]) -> tuple[str, ...]:
        """Return the sentences of the explanation with the fewest mistakes; none if there is no explanation."""
        best: tuple[str, ...] = ()
        numbers = self._wrong_numbers(forms)
        for count in range(self._most_parts + 1):  # mistakes in parts of backpropagation
            for form in forms:
                if best and len(form.sentences) + count >= len(best):
                    continue
                for sentences in self._explanations(form, count, numbers):
                    total = (*form.sentences, *sentences)
                    if total and len(total) <= MOST_MISTAKES and (not best or len(total) < len(best)):
                        best = total
        return best

    def _wrong_numbers(self, forms: Sequence[Form]) -> int:
        """Return how many numbers of a result are wrong: all of them where it cannot be in the contract's form."""
        form = forms[0]
        if form.sentences:
            return sum(tensor.size for tensor in form.tensors.values())
        return Target(form.tensors, _tensors(right_gradient(self._case)), self._dtype, self._rounding).numbers

    def _explanations(self, form: Form, count: int, numbers: int) -> Iterator[list[str]]:
        """Yield the explanations of a result in this form with so many mistakes in parts of backpropagation."""
        case = self._case
        right = form.of(replace(Backprop(), **form.parts).gradient(case))
        target = Target(form.tensors, right, self._dtype, self._rounding, numbers=numbers)
        possible = [mistake for mistake in mistakes_for(case.cost) if not mistake.parts.keys() & form.parts.keys()]
        chosen: Iterable[Sequence[Mistake]] = (
            [()] if count == 0 else [(m,) for m in possible] if count == 1 else compatible_pairs(possible)
        )
        parameters = form.of(case.parameters)
        for mistakes in chosen:
            if time.monotonic() > self._deadline:
                return
            try:
                gradient = replace(with_mistakes(mistakes), **form.parts).gradient(case)
                candidate = form.of(gradient)
            except (ValueError, IndexError):  # the shapes do not allow these mistakes
                continue
            if any(candidate[name].shape != tensor.shape for name, tensor in form.tensors.items()):
                continue
            if mistakes and not target.differs_from_right(candidate):
                continue
            alone = not (mistakes or form.sentences)
            fit = target.multiples_of(candidate)
            words = self._multiples.sentences(fit.multiples, alone=alone) if fit else None
            if words is None and len(mistakes) < 2:
                words = self._decay(target.with_decay(candidate, parameters))
            if words is not None:
                yield [mistake.sentence for mistake in mistakes] + words

    def _decay(self, fit: Fit | None) -> list[str] | None:
        """Return the sentences where a share of the parameters is added: before a step, or after it."""
        if fit is None:
            return None
        multiples, when = fit.multiples, "before"
        factor = 1.0 - fit.share * self._case.learning_rate
        after = {name: multiple / factor if name in fit.names else multiple for name, multiple in multiples.items()}
        words = self._multiples.sentences(multiples, alone=False)
        if words is None and self._steps:
            words, when = self._multiples.sentences(after, alone=False), "after"
        if words is None:
            return None
        subject = subject_of(list(fit.names), self._names, steps=self._steps)
        if self._steps:
            return [
                f"{subject} is multiplied by {factor:.6g} {when} the step: weight decay, or L2 regularization",
                *words,
            ]
        return [
            f"{fit.share:.4g} times the parameter is added to {subject}: L2 regularization, or weight decay",
            *words,
        ]


class _StepSearch:
    """Looks for the mistakes that explain parameters after steps; `right` are those that the steps should lead to."""

    def __init__(self, case: Case, descent: Descent, dtype: str, found: Tensors) -> None:
        self._case, self._descent, self._dtype, self._found = case, descent, dtype, found
        self._before = _tensors(case.parameters)
        self._deadline = time.monotonic() + SEARCH_SECONDS
        examples = sum(map(len, descent.batches))
        rounding = step_rounding(examples, dtype)
        self._rounding = {name: rounding * float(np.linalg.norm(t)) for name, t in found.items()}
        self.right = _tensors(descend(case, descent.batches, descent.learning_rate))

    def one_step(self, *, pairs: bool) -> tuple[str, ...]:
        """Return the sentences that explain a single step, whose move is linear in the gradient."""
        rate = self._case.learning_rate
        if not rate:
            return ()
        rows = self._descent.batches[0]
        gradient = {name: (self._before[name] - tensor) / rate for name, tensor in self._found.items()}
        rounding = {name: error / abs(rate) for name, error in self._rounding.items()}
        case = self._case.only(rows)
        layers = len(case.parameters.weights)
        tensors = list(gradient.values())
        forms = possible_forms(Parameters(tensors[:layers], tensors[layers:]), case)
        plain = [form for form in forms if not form.sentences]
        if not plain:
            return ()
        return _Search(case, self._dtype, steps=True, pairs=pairs, rounding=rounding).best(plain)

    def several_steps(self, *, gradients: bool) -> str:
        """Return the sentence for a mistake in the steps; for one in all of their gradients only if asked for."""
        target = Target(self._moves(self._found), self._moves(self.right), self._dtype, self._rounding)
        for sentence, parameters in self._candidates(gradients=gradients):
            if time.monotonic() > self._deadline:
                break
            candidate = self._moves(_tensors(parameters))
            explained = target.is_explained_by(candidate) and target.agrees_where_right(candidate)
            if explained and target.differs_from_right(candidate):
                return sentence
        return _lower_precision(self._found, self.right, self._dtype) if gradients else ""

    def _candidates(self, *, gradients: bool) -> Iterator[tuple[str, Parameters]]:
        """Yield where mistakes lead, each with its sentence."""
        case, descent = self._case, self._descent
        for step_mistake in STEP_MISTAKES:
            with suppress(ValueError, IndexError):
                yield step_mistake.sentence, step_mistake.parameters(case, descent)
        if not gradients:
            return
        yield from scaled_steps(case, descent)
        for mistake in mistakes_for(case.cost):
            with suppress(ValueError, IndexError):
                gradient = with_mistakes([mistake]).gradient
                yield mistake.sentence, descend(case, descent.batches, descent.learning_rate, gradient)

    def _moves(self, tensors: Tensors) -> Tensors:
        return {name: tensor - self._before[name] for name, tensor in tensors.items()}


def _case(
    parameters: Parameters, x: Array, y: Array, cost: str, batch_size: int, learning_rate: float = math.nan
) -> Case:
    weights, biases = ([np.asarray(tensor, np.float64) for tensor in tensors] for tensors in parameters)
    return Case(
        Parameters(weights, biases),
        np.asarray(x, np.float64),
        np.asarray(y, np.float64),
        cost,
        batch_size,
        learning_rate,
    )


def _tensors(parameters: Any) -> Tensors:
    return {name: np.asarray(tensor, np.float64) for name, tensor in named_tensors(parameters)}


def _not_finite(tensors: Tensors) -> str:
    """Name the tensors with NaN or infinity, in a sentence; "" if there are none."""
    names = [name for name, tensor in tensors.items() if not np.all(np.isfinite(tensor))]
    where = "every tensor" if len(names) == len(tensors) else ", ".join(names)
    return f"NaN or infinity in {where}: from 0/0, inf - inf, or memory that was never written" if names else ""


def _confusion(target: Target, right: Parameters, others: Mapping[str, Parameters]) -> str:
    """Return the sentence for another gradient, or for the right one plus another."""
    everything = list(target.right)
    for name, other in others.items():
        both = [[p + q for p, q in zip(*tensors, strict=True)] for tensors in zip(right, other, strict=True)]
        for sentence, gradient in (
            (f"this is the gradient of {name}", other),
            (f"the gradient of {name} is not cleared but added", Parameters(*both)),
        ):
            candidate = _tensors(gradient)
            if target.differs_from_right(candidate) and target.is_explained_by(candidate):
                if target.agrees_where_right(candidate):
                    return sentence
                return f"{subject_of(target.wrong, everything, steps=False)}: {sentence}"
    return ""


def _lower_precision(found: Tensors, right: Tensors, dtype: str) -> str:
    """Return the sentence for a result whose error is that of the next lower precision."""
    errors = [
        float(np.linalg.norm(found[name] - tensor) / (np.linalg.norm(tensor) or 1.0)) for name, tensor in right.items()
    ]
    lowest, highest = LOWER_PRECISION[dtype]
    rounded = sum(
        int(np.count_nonzero(np.abs(found[name] - tensor) > lowest * np.abs(tensor))) for name, tensor in right.items()
    )
    if not lowest <= max(errors) <= highest or rounded < FEWEST_ROUNDED:
        return ""
    lower = "float32" if dtype == "float64" else "float16, TF32 or bfloat16"
    return f"computed in lower precision: agrees to {max(errors):.0e} only, as if in {lower}"
