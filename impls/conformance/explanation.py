"""Whether mistakes explain a wrong gradient or step, up to a multiple of each tensor, and what the multiples tell.

An explanation must agree with the result as closely as a correct result must agree with the reference, and must not be
chance: enough decimal digits must agree. The explanation of the fewest mistakes is taken.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations, combinations_with_replacement

import numpy as np

from impls.conformance.backprop import MISTAKES, Inputs, Mistake, with_mistakes
from impls.conformance.tolerance import named_tensors, tolerance
from impls.interface import Array, Parameters

EVIDENCE_DIGITS = 12  # that must agree, over all wrong numbers less the fitted ones
DISTINCT = 10.0  # times the tolerance that a mistake must differ from the correct result
DECAY_NUMBERS = 3  # that are fitted where there is weight decay
MAX_MISTAKES = 3  # in one explanation
LOWER_PRECISION_ERRORS = {"float64": (1e-11, 1e-5), "float32": (1e-5, 5e-3)}  # relative, of the next lower one
MIN_ROUNDED_NUMBERS = 12  # with such an error: fewer may be off for another reason

Tensors = dict[str, Array]

FACTORS: tuple[tuple[Callable[[Inputs], float], str], ...] = (
    (lambda _: 0.0, "is zero: the parameters are not updated"),
    (lambda _: -1.0, "has the wrong sign"),
    (lambda inputs: len(inputs.x), "is B times too large: summed over the mini-batch, not averaged"),
    (lambda inputs: 1 / len(inputs.x), "is B times too small: divided by the number of examples twice"),
    (
        lambda inputs: len(inputs.x) / inputs.batch_size,
        "is too small: averaged over the batch size of the construction, not over the examples given",
    ),
    (
        lambda inputs: 1 / (inputs.learning_rate or math.nan),
        "is not multiplied by the rate: the learning rate is ignored",
    ),
    (lambda inputs: inputs.learning_rate, "is multiplied by the learning rate twice"),
    (lambda _: 2.0, "is 2 times too large: the 1/2 of the cost is missing"),
    (lambda _: 0.5, "is 2 times too small: the 1/2 of the cost is counted twice"),
    (lambda inputs: 1 / inputs.y.shape[1], "is too small: averaged over the output units, too"),
)


def tensors_of(parameters: Parameters) -> Tensors:
    """Return the tensors in float64, by name."""
    return {name: np.asarray(tensor, np.float64) for name, tensor in named_tensors(parameters).items()}


class WrongResult:
    """A wrong gradient, or a step divided by its learning rate, that is to be explained."""

    def __init__(
        self, inputs: Inputs, result: Tensors, correct: Tensors, rounding: Mapping[str, float] | None = None
    ) -> None:
        """Take the result and the correct one. Tensors of a step may be off by their `rounding` besides."""
        self.inputs, self.result, self.correct = inputs, result, correct
        self.is_step = rounding is not None
        self._relative = tolerance(inputs.dtype)
        self._rounding = rounding or {}
        self.wrong_numbers = sum(
            result[name].size for name in correct if not self.agrees(name, result[name], correct[name])
        )

    def agrees(self, name: str, tensor: Array, expected: Array, times: float = 1.0) -> bool:
        """Return whether two tensors are the same within `times` the tolerance."""
        if tensor.shape != expected.shape:
            return False
        allowed = self._relative * float(np.linalg.norm(expected)) + self._rounding.get(name, 0.0)
        return bool(np.linalg.norm(tensor - expected) <= times * allowed)

    def same(self, number: float, expected: float) -> bool:
        """Return whether two multiples of a tensor are the same."""
        return abs(number - expected) <= DISTINCT * self._relative * max(abs(number), abs(expected))

    def differs_from_correct(self, candidate: Tensors) -> bool:
        """Return whether a candidate is clearly another result than the correct one."""
        return not all(self.agrees(name, self.correct[name], candidate[name], DISTINCT) for name in self.correct)

    def is_explained_by(self, candidate: Tensors) -> bool:
        """Return whether the result is the candidate, and not the correct one or by chance."""
        multiples = self.multiples_of(candidate) or {}
        return set(multiples.values()) == {1.0} and self.differs_from_correct(candidate)

    def multiples_of(self, candidate: Tensors, weight_decay: Tensors | None = None) -> dict[str, float] | None:
        """Return the multiples of a candidate's tensors that the result is; None if it is no multiple of them.

        A `weight_decay` is subtracted from the result first.
        """
        multiples: dict[str, float] = {}
        for name, tensor in self.result.items():
            expected = candidate[name]
            remainder = tensor - weight_decay[name] if weight_decay and name in weight_decay else tensor
            square = float(np.vdot(expected, expected))
            multiple = float(np.vdot(expected, remainder)) / square if square else 1.0
            if self.agrees(name, remainder, expected):
                multiple = 1.0
            elif not self.agrees(name, remainder, multiple * expected):
                return None
            multiples[name] = multiple
        fitted = len(set(multiples.values()) - {1.0}) + (DECAY_NUMBERS if weight_decay else 0)
        return multiples if self._is_evidence(fitted) else None

    def _is_evidence(self, fitted_numbers: int) -> bool:
        return -math.log10(self._relative) * (self.wrong_numbers - fitted_numbers) >= EVIDENCE_DIGITS


def explain(wrong: WrongResult) -> list[str]:
    """Return the fewest mistakes that explain a gradient or a step, each in a sentence; [] if none do."""
    best: list[str] = []
    for mistakes in _combinations():
        if best and len(mistakes) >= len(best):
            break
        with suppress(ValueError):  # The shapes do not allow these mistakes.
            sentences = _explanation(wrong, mistakes)
            if sentences and len(sentences) < (len(best) or MAX_MISTAKES + 1):
                best = sentences
    return best


def _combinations() -> Iterator[tuple[Mistake, ...]]:
    """Yield no mistake, each mistake, and all pairs of mistakes in different parts."""
    for count in range(3):
        for mistakes in combinations(MISTAKES, count):
            if count < 2 or mistakes[0].parts.keys().isdisjoint(mistakes[1].parts):
                yield mistakes


def _explanation(wrong: WrongResult, mistakes: Sequence[Mistake]) -> list[str]:
    """Return the sentences of these mistakes, and of the multiples besides; [] if they are not behind the result.

    A multiple that no mistake is known for is reported only where there is no other mistake.
    """
    candidate = tensors_of(with_mistakes(mistakes).gradient(wrong.inputs))
    if mistakes and not wrong.differs_from_correct(candidate):
        return []
    words = _multiples_in_words(wrong, candidate, alone=not mistakes)
    if words is None and len(mistakes) < 2:
        words = _decay_in_words(wrong, candidate)
    return [] if words is None else [mistake.sentence for mistake in mistakes] + words


def _multiples_in_words(
    wrong: WrongResult, candidate: Tensors, *, alone: bool = False, decay: Tensors | None = None
) -> list[str] | None:
    """Return one sentence for each mistake behind the multiples of a candidate; None if it explains nothing."""
    multiples = wrong.multiples_of(candidate, decay)
    if multiples is None:
        return None
    groups: dict[float, list[str]] = {}
    for name, multiple in multiples.items():
        number = next((known for known in (1.0, *groups) if wrong.same(known, multiple)), multiple)
        groups.setdefault(number, []).append(name)
    groups.pop(1.0, None)
    sentences: list[str] = []
    for number, names in groups.items():
        words = _factor_in_words(wrong, number) or ([_unnamed(number)] if alone and len(groups) == 1 else [])
        if not words:
            return None
        sentences += [f"{_subject(wrong, names)} {text}" for text in words]
    return sentences


def _factor_in_words(wrong: WrongResult, number: float) -> list[str]:
    """Return the mistake, or the only two together, that multiply a gradient with this number; [] for none."""
    factors = [(value(wrong.inputs), text) for value, text in FACTORS]
    factors = [(value, text) for value, text in factors if math.isfinite(value) and value != 1.0]
    single = [text for value, text in factors if wrong.same(value, number)]
    if single:
        return [" or ".join(single)]
    products = [
        [text, second_text]
        for (value, text), (second_value, second_text) in combinations_with_replacement(factors, 2)
        if wrong.same(value * second_value, number)
    ]
    return products[0] if len(products) == 1 else []


def _unnamed(number: float) -> str:
    size = abs(number)
    extent = f"is {max(size, 1 / size):.4g} times too {'large' if size > 1.0 else 'small'}"
    return extent + (", and has the wrong sign" if number < 0.0 else "")


def _decay_in_words(wrong: WrongResult, candidate: Tensors) -> list[str] | None:
    """Return the sentences where the same share of the weights is added to all of their gradients."""
    weights = {name: W for name, W in tensors_of(wrong.inputs.parameters).items() if name.startswith("weights")}
    columns = np.stack([candidate["weights[0]"].ravel(), weights["weights[0]"].ravel()], axis=1)
    _, share = np.linalg.lstsq(columns, wrong.result["weights[0]"].ravel(), rcond=None)[0]
    decay = {name: share * W for name, W in weights.items()}
    words = _multiples_in_words(wrong, candidate, decay=decay)
    if words is None:
        return None
    return [f"{share:.4g} times the weights are added to their gradients: weight decay, or L2 regularization", *words]


def _subject(wrong: WrongResult, names: list[str]) -> str:
    """Return which gradients or steps are meant: "every bias gradient", "the step of weights[0]"."""
    kinds = {kind: [name for name in wrong.correct if name.startswith(kind)] for kind in ("weight", "bias", "")}
    kind = next((kind for kind, group in kinds.items() if group == names), None)
    if kind is None:
        return f"the {'step' if wrong.is_step else 'gradient'} of {', '.join(names)}"
    if wrong.is_step:
        return f"the step of every {kind or 'parameter'}"
    return f"every {kind} gradient".replace("  ", " ")


def lower_precision(wrong: WrongResult) -> list[str]:
    """Return the sentence for a result whose error is that of the next lower precision; [] for another error."""
    lowest, highest = LOWER_PRECISION_ERRORS[wrong.inputs.dtype]
    errors, rounded = [], 0
    for name, tensor in wrong.correct.items():
        difference = np.abs(wrong.result[name] - tensor)
        errors.append(float(np.linalg.norm(difference) / (np.linalg.norm(tensor) or 1.0)))
        rounded += int(np.count_nonzero(difference > lowest * np.abs(tensor)))
    if not lowest <= max(errors) <= highest or rounded < MIN_ROUNDED_NUMBERS:
        return []
    lower = "float32" if wrong.inputs.dtype == "float64" else "float16, TF32 or bfloat16"
    return [f"computed in lower precision: agrees to {max(errors):.0e} only, as if in {lower}"]
