"""Tensors that are a multiple of the right ones: which multiple, of which tensors, and what that tells.

A number that some mistake multiplies a gradient with is recognised by its value: 10 for the sum over a mini-batch of
10. Where two mistakes give the same number, both are named.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

LEAST_MULTIPLE = 1e-3  # that a number must be off 1 to be called a multiple


class Scale(NamedTuple):
    """What the multiples are made of."""

    examples: int  # B
    outputs: int  # n_L
    batch_size: int  # of the construction
    learning_rate: float  # NaN where a gradient is asked for


class Factor(NamedTuple):
    """A multiple: its number, and what follows "every gradient …" and "every parameter …" for a step."""

    value: Callable[[Scale], float]
    gradient: str
    step: str


FACTORS = (
    Factor(lambda _: 0.0, "is zero", "is unchanged: the step is not applied"),
    Factor(lambda _: -1.0, "has the wrong sign", "moves the wrong way: added instead of subtracted"),
    Factor(
        lambda s: s.examples,
        "is B times too large: summed over the mini-batch, not averaged",
        "moves B times too far: by the sum over the mini-batch, not by the mean",
    ),
    Factor(
        lambda s: 1 / s.examples,
        "is B times too small: divided by the number of examples twice",
        "moves B times too little: divided by the number of examples twice",
    ),
    Factor(
        lambda s: s.examples / s.batch_size,
        "is too small: averaged over the batch size of the construction, not over the examples given",
        "moves too little: averaged over the batch size of the construction, not over the examples given",
    ),
    Factor(
        lambda s: s.examples / (s.examples - 1) if s.examples > 1 else math.nan,
        "is averaged over one example too few: divided by B - 1 instead of B",
        "moves by a mean over one example too few: divided by B - 1 instead of B",
    ),
    Factor(
        lambda s: 1 / (s.learning_rate or math.nan), "", "moves by the whole gradient: the learning rate is ignored"
    ),
    Factor(lambda s: s.learning_rate, "", "moves by the square of the learning rate: it is applied twice"),
    Factor(
        lambda s: math.trunc(s.learning_rate) / s.learning_rate if s.learning_rate >= 1.0 else math.nan,
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
        "is too small: averaged over the output units, too",
        "moves too little: averaged over the output units, too",
    ),
    Factor(
        lambda s: 2 / s.outputs if s.outputs > 2 else math.nan,
        "is that of the mean squared error over examples and output units",
        "moves by the gradient of the mean squared error over examples and output units",
    ),
)


class Multiples:
    """Puts the multiples that tensors are of the right ones into words."""

    def __init__(self, scale: Scale, names: Sequence[str], closeness: float, *, steps: bool) -> None:
        """Take the names of all tensors; two numbers are the same within `closeness`, relative to their size."""
        self._scale = scale
        self._names = list(names)
        self._closeness = closeness
        self._steps = steps

    def sentences(self, multiples: Mapping[str, float], *, alone: bool) -> list[str] | None:
        """Return one sentence for each mistake behind the multiples, by tensor; None if they tell of none.

        A number that no mistake is known for is told only `alone`, where nothing else is wrong.
        """
        groups: list[tuple[float, list[str]]] = []
        for name, multiple in multiples.items():
            same = next((names for number, names in groups if self._same(number, multiple)), None)
            if same is None:
                groups.append((multiple, [name]))
            else:
                same.append(name)
        wrong = [(number, names) for number, names in groups if not self._same(number, 1.0)]
        if len(groups) > 2:
            return None
        if len(wrong) < 2:
            return [] if not wrong else self._of_group(wrong[0][0], wrong[0][1], alone=alone)
        return self._two_groups(wrong)

    def _two_groups(self, groups: list[tuple[float, list[str]]]) -> list[str] | None:
        """Return the sentences where all tensors are wrong, by two numbers: one common mistake, or two."""
        for (common, _), (other, names) in (groups, groups[::-1]):
            if common:
                every = self._of_group(common, self._names, alone=False)
                rest = self._of_group(other / common, names, alone=False)
                if every and rest and len(every + rest) == 2:
                    return every + rest
        sentences = [self._of_group(number, names, alone=False) for number, names in groups]
        return [words for group in sentences if group for words in group] if all(sentences) else None

    def _of_group(self, number: float, names: list[str], *, alone: bool) -> list[str] | None:
        """Return the sentences for tensors with one multiple; None if the number or the group tells nothing."""
        subject = subject_of(names, self._names, steps=self._steps)
        words = self._words(number)
        if words is None and alone and not math.isclose(number, 1.0, rel_tol=LEAST_MULTIPLE):
            words = [self._unnamed(number)]
        return [f"{subject} {each}" for each in words] if words else None

    def _words(self, number: float) -> list[str] | None:
        """Return what the number tells: one mistake, or two that are multiplied; None for no or no single answer."""
        known = [(float(factor.value(self._scale)), self._text(factor)) for factor in FACTORS]
        known = [(value, text) for value, text in known if text and math.isfinite(value)]
        one = [text for value, text in known if self._same(value, number)]
        if one:
            return [" (or ".join(one) + ")" * (len(one) - 1)]
        two = [
            [text for _, text in pair]
            for pair in combinations_with_replacement(known, 2)
            if self._same(pair[0][0] * pair[1][0], number)
        ]
        return two[0] if len(two) == 1 and two[0][0] != two[0][1] else None

    def _text(self, factor: Factor) -> str:
        return factor.step if self._steps else factor.gradient

    def _unnamed(self, number: float) -> str:
        verb = ("moves", "far", "little") if self._steps else ("is", "large", "small")
        extent = f"{verb[0]} {_times(abs(number))} times too {verb[1] if abs(number) > 1.0 else verb[2]}"
        wrong_way = ", and the wrong way" if self._steps else ", and has the wrong sign"
        return extent + (wrong_way if number < 0.0 else "")

    def _same(self, one: float, other: float) -> bool:
        return abs(one - other) <= self._closeness * max(abs(one), abs(other))


def subject_of(names: list[str], everything: Sequence[str], *, steps: bool) -> str:
    """Return which tensors are meant, in words: "every bias gradient", "every parameter of layer 1"."""
    noun, kind = ("parameter", "") if steps else ("gradient", " gradient")
    groups = {
        f"every {noun}": list(everything),
        f"every weight{kind}": [name for name in everything if name.startswith("weights")],
        f"every bias{kind}": [name for name in everything if name.startswith("biases")],
    }
    for layer in range(len(everything) // 2):
        in_layer = [f"weights[{layer}]", f"biases[{layer}]"]
        groups[f"every {noun} of layer {layer}"] = in_layer
        groups[f"every {noun} but those of layer {layer}"] = [name for name in everything if name not in in_layer]
    listed = ", ".join(names)
    single = listed if steps else f"the gradient of {listed}"
    several = f"each {noun} of {listed}" if names[1:] else single
    return next((words for words, group in groups.items() if group == names and group[1:]), several)


def _times(number: float) -> str:
    """Return how many times too large or too small."""
    size = abs(number)
    return f"{max(size, 1 / size):.4g}" if size else ""
