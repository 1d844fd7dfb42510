"""The likely mistake behind a wrong gradient or wrong parameters, in one sentence.

A wrong result is compared with multiples of the right one, with what known mistakes would compute (`mistakes`), and
with sums in which some examples do not count as they should. A sentence is returned only if the result agrees with it
as closely as a right result must agree with the oracle, and if that agreement cannot be chance; otherwise "".
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from impls.conformance.gradient_mistakes import (
    GRADIENT_MISTAKES,
    PRECISION_MISTAKES,
)
from impls.conformance.search import LEAST_MULTIPLE, Search
from impls.conformance.shares import unequal_shares
from impls.conformance.step_mistakes import (
    SCALED_STEPS,
    STEP_MISTAKES,
    STORAGE_MISTAKES,
    descend,
)
from impls.conformance.variants import (
    FACTORS,
    Case,
    Descent,
    Rows,
    Scale,
    right,
)
from impls.interface import Array, Parameters


def diagnose(
    found: Any,
    parameters: Parameters,
    x: Array,
    y: Array,
    cost: str = "quadratic",
    *,
    batch_size: int = 0,
    others: Mapping[str, Parameters] | None = None,
) -> str:
    """Return the likely mistake in a gradient that is wrong, "" if none is known.

    `parameters`, `x` (B, n_0) and `y` (B, n_L) are what the gradient was asked of, in the implementation's dtype;
    `batch_size` is that of the construction, if it is larger. `others` are gradients that may have been confused with
    this one, or added to it, by name ("the mini-batch before").
    """
    with np.errstate(all="ignore"):
        case = _case(parameters, x, y, cost, batch_size or len(x))
        search = Search(found, right(case), parameters.biases[0].dtype.name)
        if not search.possible:
            return search.not_finite()
        return (
            _multiple(search, Scale(len(x), y.shape[1], case.batch_size, math.nan))
            or search.rounding((sentence, partial(gradient, case)) for sentence, gradient in PRECISION_MISTAKES)
            or search.first((sentence, partial(gradient, case)) for sentence, gradient in GRADIENT_MISTAKES)
            or search.first(_confusions(right(case), others or {}))
            or unequal_shares(search, case)
        )


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
) -> str:
    """Return the likely mistake in parameters that are wrong after steps, "" if none is known.

    `parameters` are those before the steps. `epochs` are lists of mini-batches, each given by the indices of its
    examples in `x` (N, n_0) and `y` (N, n_L); a single step is `[[np.arange(B)]]`. The mistakes in the gradient are
    considered, too.
    """
    with np.errstate(all="ignore"):
        descent = Descent(epochs, float(learning_rate))
        batches, rate = descent.batches, descent.learning_rate
        case = _case(parameters, x, y, cost, batch_size or max(map(len, batches)))
        search = Search(
            found,
            descend(case, batches, rate),
            parameters.biases[0].dtype.name,
            before=case.parameters,
            examples=sum(map(len, batches)),
        )
        if len(batches) == 1:
            scaled = partial(_multiple, search, Scale(len(batches[0]), y.shape[1], case.batch_size, rate))
        else:
            scaled = partial(search.first, ((words, partial(result, case, descent)) for words, result in SCALED_STEPS))
        if not search.possible:
            return search.not_finite()
        return (
            search.rounding((sentence, partial(result, case, descent)) for sentence, result in STORAGE_MISTAKES)
            or search.first((sentence, partial(result, case, descent)) for sentence, result in STEP_MISTAKES)
            or scaled()
            or search.first(
                (sentence, partial(descend, case, batches, rate, gradient)) for sentence, gradient in GRADIENT_MISTAKES
            )
            or _decay(search)
        )


def _case(parameters: Parameters, x: Array, y: Array, cost: str, batch_size: int) -> Case:
    weights, biases = ([np.asarray(tensor, np.float64) for tensor in tensors] for tensors in parameters)
    return Case(Parameters(weights, biases), np.asarray(x, np.float64), np.asarray(y, np.float64), cost, batch_size)


def _multiple(search: Search, scale: Scale) -> str:
    """Return the sentence for tensors that are, or have moved by, a multiple of the right ones."""
    if any(search.found[name].shape != search.expected[name].shape for name in search.wrong):
        return ""
    move = {name: tensor - search.before[name] for name, tensor in search.expected.items()}
    moved = {name: search.found[name] - search.before[name] for name in search.wrong}

    def explained_by(k: float, constants: int = 0) -> bool:
        candidate = {name: search.before[name] + k * move[name] for name in move}
        return search.explained_by(candidate, constants)

    wrong_way = ", and the wrong way" if search.steps else ", and has the wrong sign"
    for factor in FACTORS:
        words = factor.step if search.steps else factor.gradient
        k = float(factor.value(scale))
        for sign in (1.0, -1.0) if k > 0.0 else (1.0,):
            if words and math.isfinite(k) and explained_by(sign * k):
                return f"{search.subject()} {words.format(k=_times(k))}{wrong_way if sign < 0.0 else ''}"
    squares = sum(float(np.vdot(move[name], move[name])) for name in search.wrong)
    k = sum(float(np.vdot(move[name], moved[name])) for name in search.wrong) / (squares or math.nan)
    if not (abs(abs(k) - 1.0) > LEAST_MULTIPLE and explained_by(k, constants=1)):
        return ""
    large, small = (
        ("moves {} too far", "moves {} too little") if search.steps else ("is {} too large", "is {} too small")
    )
    words = (large if abs(k) > 1.0 else small).format(f"{_times(abs(k))} times")
    return f"{search.subject()} {words}{wrong_way if k < 0.0 else ''}"


def _times(k: float) -> str:
    """Return how many times too large or too small."""
    return f"{max(k, 1 / k):.4g}" if k > 0.0 else ""


def _confusions(
    expected: Parameters, others: Mapping[str, Parameters]
) -> Iterable[tuple[str, Callable[[], Parameters]]]:
    """Return the candidates that are another gradient, or the right one plus another."""
    for name, other in others.items():
        yield f"this is the gradient of {name}", partial(Parameters, *other)
        both = [[p + q for p, q in zip(*tensors, strict=True)] for tensors in zip(expected, other, strict=True)]
        yield f"the gradient of {name} is not cleared but added", partial(Parameters, *both)


def _decay(search: Search) -> str:
    """Return the sentence for parameters that were multiplied by a number, too, after the step or before it."""
    if any(search.found[name].shape != search.expected[name].shape for name in search.wrong):
        return ""
    for when, multiplied in (("after", search.expected), ("before", search.before)):
        change = {name: search.found[name] - search.expected[name] for name in search.wrong}
        products = sum(float(np.vdot(change[name], multiplied[name])) for name in search.wrong)
        squares = sum(float(np.vdot(multiplied[name], multiplied[name])) for name in search.wrong)
        k = products / (squares or math.nan)
        candidate = {name: tensor + k * multiplied[name] for name, tensor in search.expected.items()}
        if search.explained_by(candidate, constants=1):
            return f"{search.subject()} is multiplied by {1 + k:.6g} {when} the step, as by weight decay"
    return ""
