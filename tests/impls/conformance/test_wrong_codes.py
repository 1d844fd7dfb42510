"""The wrong codes are wrong, each in its own way, and `measure` counts how many of them a diagnosis names."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from correct_code import draw
from known_mistakes import MEANINGS, MISTAKES, PAIRS, SHAPE_MISTAKES, SINGLES
from wrong_codes import wrong_code

from impls.conformance.kit import check, violations
from impls.interface import Array, Implementation

GENERIC, SQUARE = (6, 5, 4, 3), (4, 4, 4, 4)
EXAMPLES = 7
RATE = 0.7

Mistakes = tuple[str, ...]

CASES: list[Mistakes] = [*((single,) for single in SINGLES), *PAIRS]


# --- How well a diagnosis names them -------------------------------------------------------------------------------


def measure(
    diagnose: Callable[[type[Implementation]], str], cases: Iterable[Mistakes] = tuple(CASES)
) -> dict[str, list[tuple[Mistakes, str]]]:
    """Return the mistakes and the diagnosis of each case, by verdict: "whole", "partly", "none" or "wrong".

    `diagnose` takes a class and returns what is wrong in words, "" for nothing. See `verdict`.
    """
    verdicts: dict[str, list[tuple[Mistakes, str]]] = {"whole": [], "partly": [], "none": [], "wrong": []}
    for mistakes in cases:
        diagnosis = diagnose(wrong_code(*mistakes))
        verdicts[verdict(mistakes, diagnosis)].append((mistakes, diagnosis))
    return verdicts


def verdict(mistakes: Mistakes, diagnosis: str) -> str:
    """Return how well a diagnosis names the mistakes.

    "whole" names all of them; "none" is empty; "wrong" has a sentence, ended by a full stop or a semicolon, that names
    none of them; "partly" names one of two, and nothing that is not there.
    """
    if not diagnosis.strip():
        return "none"
    if all(names(mistake, diagnosis) for mistake in mistakes):
        return "whole"
    sentences = [sentence for sentence in re.split(r"[.;](?:\s+|$)", diagnosis) if sentence.strip()]
    if all(any(names(mistake, sentence) for mistake in mistakes) for sentence in sentences):
        return "partly"
    return "wrong"


def names(mistake: str, text: str) -> bool:
    return re.search(MISTAKES[mistake], text, re.IGNORECASE | re.DOTALL) is not None


def test_each_meaning_names_its_mistake() -> None:
    assert MEANINGS.keys() == MISTAKES.keys()
    assert [mistake for mistake, meaning in MEANINGS.items() if not names(mistake, meaning)] == []


def test_a_sentence_about_another_mistake_is_wrong() -> None:
    mistakes = ("sum-not-mean", "hidden-relu")
    assert verdict(mistakes, "summed over the mini-batch, not averaged") == "partly"
    assert verdict(mistakes, "summed over the mini-batch, not averaged; the hidden layers are ReLU") == "whole"
    assert verdict(mistakes, "summed over the mini-batch, not averaged. The output is a softmax.") == "wrong"


# --- What they compute ---------------------------------------------------------------------------------------------


def flat(nested: Any) -> Iterator[Array]:
    """Yield the arrays of nested lists and tuples in their order."""
    if isinstance(nested, list | tuple):
        for part in nested:
            yield from flat(part)
    else:
        yield nested


def behaviour(mistakes: Mistakes, sizes: tuple[int, ...]) -> list[Array]:
    """Return the gradient of one mini-batch, and the parameters after two steps if the gradient's shape allows them."""
    parameters, x, y = draw(sizes, EXAMPLES, seed=5)
    code = wrong_code(*mistakes)(sizes, EXAMPLES)
    code.load(parameters)
    batch = code.prepare(x, y)
    result = list(flat(code.gradients(batch)))
    if not set(mistakes) & {*SHAPE_MISTAKES, "wrong-axis"}:
        for _ in range(2):  # momentum is seen from the second step on
            code.step(batch, RATE)
        result += flat(code.parameters())
    return result


def are_different(some: list[Array], others: list[Array]) -> bool:
    """Return whether a shape differs, or an array by more than 0.01 %."""
    if [array.shape for array in some] != [array.shape for array in others]:
        return True
    return any(
        np.linalg.norm(array - other) > 1e-4 * np.linalg.norm(other) for array, other in zip(some, others, strict=True)
    )


def test_without_a_mistake_it_conforms() -> None:
    assert check(wrong_code(), threads=(1,)) == []


def test_no_two_cases_behave_the_same() -> None:
    behaviours = {mistakes: [*behaviour(mistakes, GENERIC), *behaviour(mistakes, SQUARE)] for mistakes in [(), *CASES]}
    same = [(a, b) for a, b in combinations(behaviours, 2) if not are_different(behaviours[a], behaviours[b])]
    assert same == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # which the kit would report instead of the mistake
def test_the_kit_rejects_every_case() -> None:
    assert [mistakes for mistakes in CASES if not any(violations(wrong_code(*mistakes), diagnosed=False))] == []
