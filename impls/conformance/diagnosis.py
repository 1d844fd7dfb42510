"""The likely mistake behind a wrong gradient or wrong parameters, in one sentence.

A wrong result is compared with multiples of the right one, with what known mistakes would compute (`mistakes`), and
with sums in which some examples do not count as they should. A sentence is returned only if the result agrees with it
as closely as a right result must agree with the oracle, and if that agreement cannot be chance; otherwise "".
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from impls.conformance.comparison import named_tensors, tolerance
from impls.conformance.gradient_mistakes import (
    GRADIENT_MISTAKES,
    PRECISION_MISTAKES,
)
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
    backpropagate,
    right,
)
from impls.interface import Array, Parameters

EVIDENCE = 12  # decimal digits that must agree, over all numbers less those of fitted constants: no chance
DISTINCT = 10  # times the tolerance that a mistake must be off the right result, to be told from rounding
SEARCH_SECONDS = 5.0  # for one result: the workload may be large
MOST_EXAMPLES = 256  # whose shares in a sum are solved for
MOST_NUMBERS = 10_000_000  # in the equations for these shares
NEARLY_RIGHT = 0.1  # relative error, of the lowest precision
ROUNDING = {"float64": (1e-11, 1e-5), "float32": (1e-5, 5e-3)}  # relative errors as of the next lower precision
LEAST_MULTIPLE = 1e-3  # that a fitted constant must be off 1

Tensors = dict[str, Array]


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
            or _unequal_shares(search, case)
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


class Search:
    """Compares a wrong result with candidates, tensor by tensor: a gradient, or parameters after steps."""

    def __init__(
        self, found: Any, expected: Parameters, dtype: str, before: Parameters | None = None, examples: int = 0
    ) -> None:
        """Take the result and the right one; for steps the parameters `before`, and the number of examples seen."""
        self.steps = before is not None
        self.expected = _tensors(expected)
        self.before = _tensors(before) if before else {name: 0.0 * tensor for name, tensor in self.expected.items()}
        try:
            self.found = _tensors(found)
        except (TypeError, ValueError):  # not even a pair of lists of arrays
            self.found = {}
        self._dtype, self._relative = dtype, tolerance(dtype)
        self._rounding = np.finfo(dtype).eps * math.sqrt(examples)
        self._deadline = time.monotonic() + SEARCH_SECONDS
        comparable = self.found.keys() == self.expected.keys()
        self.wrong = [
            name for name in self.expected if not (comparable and self._agrees(name, self.found, self.expected))
        ]
        self.possible = comparable and bool(self.wrong) and not self.not_finite()

    def not_finite(self) -> str:
        """Name the tensors with NaN or infinity, in a sentence; "" if there are none."""
        names = [name for name, tensor in self.found.items() if not np.all(np.isfinite(tensor))]
        where = "every tensor" if len(names) == len(self.found) else ", ".join(names)
        return f"NaN or infinity in {where}: from 0/0, inf - inf, or memory that was never written" if names else ""

    def first(self, candidates: Iterable[tuple[str, Callable[[], Parameters]]], closeness: float = 1.0) -> str:
        """Return the sentence of the first candidate that explains all that is wrong, `closeness` times more closely.

        A candidate that explains the wrong tensors, but would have others wrong that are right, is the second choice;
        its sentence then begins with the tensors.
        """
        second = ""
        for sentence, candidate in candidates:
            if time.monotonic() > self._deadline:
                break
            try:
                tensors = _tensors(candidate())
            except (ValueError, IndexError):  # the shapes do not allow this mistake
                continue
            if self.explained_by(tensors, closeness=closeness):
                if all(self._agrees(name, self.found, tensors) for name in tensors):
                    return sentence
                second = second or f"{self.subject()}: {sentence}"
        return second

    def explained_by(self, candidate: Tensors, constants: int = 0, closeness: float = 1.0) -> bool:
        """Return whether the wrong tensors are the candidate's, neither by chance nor by rounding.

        `constants` counts the numbers of the candidate that were fitted to the result.
        """
        numbers = sum(self.found[name].size for name in self.wrong) - constants
        return (
            -math.log10(self._relative) * numbers >= EVIDENCE
            and candidate.keys() == self.expected.keys()
            and all(self._agrees(name, self.found, candidate, 1 / closeness) for name in self.wrong)
            and not all(self._agrees(name, self.expected, candidate, DISTINCT / closeness) for name in self.wrong)
        )

    def rounding(self, candidates: Iterable[tuple[str, Callable[[], Parameters]]]) -> str:
        """Return the sentence for a result that is nearly right in all tensors: a candidate's, or a general one."""
        if any(self.found[name].shape != tensor.shape for name, tensor in self.expected.items()):
            return ""
        errors = [
            float(np.linalg.norm(self.found[name] - tensor) / (np.linalg.norm(tensor) or 1.0))
            for name, tensor in self.expected.items()
        ]
        if max(errors) > NEARLY_RIGHT:
            return ""
        exact = self.first(candidates, closeness=DISTINCT)  # which may be no further off than the tolerance
        lowest, highest = ROUNDING[self._dtype]
        if exact or min(errors) < lowest or max(errors) > highest:
            return exact
        lower = "float32" if self._dtype == "float64" else "float16, TF32 or bfloat16"
        return f"computed in lower precision: agrees to {max(errors):.0e} only, as if in {lower}"

    def subject(self) -> str:
        """Return which tensors are wrong, in words: "every bias gradient", "every parameter of layer 1"."""
        noun, of_kind = ("parameter", "") if self.steps else ("gradient", " gradient")
        groups = {
            f"every {noun}": list(self.expected),
            f"every weight{of_kind}": [name for name in self.expected if name.startswith("weights")],
            f"every bias{of_kind}": [name for name in self.expected if name.startswith("biases")],
        }
        for layer in range(len(self.expected) // 2):
            of_layer = [f"weights[{layer}]", f"biases[{layer}]"]
            groups[f"every {noun} of layer {layer}"] = of_layer
            groups[f"every {noun} but those of layer {layer}"] = [n for n in self.expected if n not in of_layer]
        listed = ", ".join(self.wrong)
        one = listed if self.steps else f"the gradient of {listed}"
        several = f"each {noun} of {listed}" if self.wrong[1:] else one
        return next((words for words, names in groups.items() if names == self.wrong and names[1:]), several)

    def _agrees(self, name: str, one: Tensors, other: Tensors, times: float = 1.0) -> bool:
        """Return whether a tensor agrees with another as closely as a right one must with the oracle's."""
        if one[name].shape != other[name].shape:
            return False
        moved = size = float(np.linalg.norm(other[name]))
        if self.before[name].shape == other[name].shape:
            moves = (float(np.linalg.norm(after[name] - self.before[name])) for after in (other, self.expected))
            moved = next(filter(None, moves), 0.0)  # what does not move is compared with the right move
        allowed = self._relative * moved + self._rounding * size
        return bool(np.linalg.norm(one[name] - other[name]) <= times * allowed)


def _case(parameters: Parameters, x: Array, y: Array, cost: str, batch_size: int) -> Case:
    weights, biases = ([np.asarray(tensor, np.float64) for tensor in tensors] for tensors in parameters)
    return Case(Parameters(weights, biases), np.asarray(x, np.float64), np.asarray(y, np.float64), cost, batch_size)


def _tensors(parameters: Any) -> Tensors:
    return {name: np.asarray(tensor, np.float64) for name, tensor in named_tensors(parameters)}


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


def _unequal_shares(search: Search, case: Case) -> str:
    """Return the sentence for a gradient in which the examples do not count 1/B each.

    The gradient is linear in the examples' shares, so these solve a system of linear equations.
    """
    count, names = len(case.x), search.wrong
    numbers = sum(search.expected[name].size for name in names)
    if not 1 < count <= min(MOST_EXAMPLES, numbers) or numbers * count > MOST_NUMBERS:
        return ""
    if any(search.found[name].shape != search.expected[name].shape for name in names):
        return ""
    trace = backpropagate(case)
    columns = []
    for name in names:
        layer = int(name.partition("[")[2].rstrip("]"))
        delta, a = trace.deltas[layer], trace.activations[layer]  # (B, n_out), (B, n_in)
        terms = delta[:, :, np.newaxis] * a[:, np.newaxis, :] if name.startswith("weights") else delta
        columns.append(terms.reshape(count, -1))
    matrix = np.concatenate(columns, axis=1).T  # (numbers, B); its rows add up to the right gradient
    if not np.all(np.isfinite(matrix)):
        return ""
    shares = np.linalg.lstsq(matrix, np.concatenate([search.found[name].ravel() for name in names]), rcond=None)[0]
    sentence, exact = _shares_in_words(shares)
    if not sentence:
        return ""
    candidate, parts = dict(search.expected), np.split(matrix @ exact, np.cumsum([c.shape[1] for c in columns])[:-1])
    candidate |= {name: part.reshape(candidate[name].shape) for name, part in zip(names, parts, strict=True)}
    if not search.explained_by(candidate, constants=count):
        return ""
    return sentence if names == list(search.expected) else f"{search.subject()}: {sentence}"


def _shares_in_words(shares: Array) -> tuple[str, Array]:
    """Return what the examples count instead of 1 each, in words and as whole multiples; "" for no simple rule."""
    used = np.abs(shares) > LEAST_MULTIPLE
    for unit in (1.0, len(shares) / max(used.sum(), 1), float(len(shares))):
        times = np.round(shares / unit)
        equal = times.min() == times.max()
        if np.abs(shares / unit - times).max() > LEAST_MULTIPLE or times.min() < 0.0 or equal:
            continue
        if times.max() > 1.0:
            return f"{_numbered(times > 1.0)} more than once", times * unit
        if 2 * used.sum() <= len(shares):
            return f"only {_numbered(used)}", times * unit
        return f"{_numbered(~used)} not at all", times * unit
    return "", shares


def _numbered(chosen: Array) -> str:
    """Return "example 3 of 7 counts", "examples 2 to 4 of 7 count"."""
    numbers = np.flatnonzero(chosen) + 1
    if len(numbers) == 1:
        return f"example {numbers[0]} of {len(chosen)} counts"
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"examples {numbers[0]} to {numbers[-1]} of {len(chosen)} count"
    listed = ", ".join(map(str, numbers[:6])) + (", …" if numbers[6:].size else "")
    return f"examples {listed} of {len(chosen)} count"
