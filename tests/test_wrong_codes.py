"""The wrong codes are wrong, each in its own way, and `measure` counts how many of them a diagnosis names."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from wrong_codes import MEANINGS, MISTAKES, NOT_PAIRS, PAIRS, SHAPE_MISTAKES, SINGLES, STEP_MISTAKES, wrong_code

from impls.conformance.kit import check, violations
from impls.interface import Array, Implementation, Parameters

GENERIC, SQUARE = (6, 5, 4, 3), (4, 4, 4, 4)
EXAMPLES = 7
RATE = 0.7

Mistakes = tuple[str, ...]

CASES: list[Mistakes] = [*((single,) for single in SINGLES), *PAIRS]


# --- How well a diagnosis names them -------------------------------------------------------------------------------


def measure(
    diagnose: Callable[[type[Implementation]], str], cases: Iterable[Mistakes] = tuple(CASES)
) -> dict[str, list[tuple[Mistakes, str]]]:
    """Return the mistakes and the diagnosis of each case, by verdict: "right", "partly", "none" or "wrong".

    `diagnose` takes a class and returns what is wrong in words, "" for nothing. See `verdict`.
    """
    verdicts: dict[str, list[tuple[Mistakes, str]]] = {"right": [], "partly": [], "none": [], "wrong": []}
    for mistakes in cases:
        diagnosis = diagnose(wrong_code(*mistakes))
        verdicts[verdict(mistakes, diagnosis)].append((mistakes, diagnosis))
    return verdicts


def verdict(mistakes: Mistakes, diagnosis: str) -> str:
    """Return how well a diagnosis names the mistakes.

    "right" names all of them; "none" is empty; "wrong" has a sentence, ended by a full stop or a semicolon, that names
    none of them; "partly" names one of two, and nothing that is not there.
    """
    if not diagnosis.strip():
        return "none"
    if all(names(mistake, diagnosis) for mistake in mistakes):
        return "right"
    sentences = [sentence for sentence in re.split(r"[.;](?:\s+|$)", diagnosis) if sentence.strip()]
    if all(any(names(mistake, sentence) for mistake in mistakes) for sentence in sentences):
        return "partly"
    return "wrong"


def names(mistake: str, text: str) -> bool:
    return re.search(MISTAKES[mistake], text, re.IGNORECASE | re.DOTALL) is not None


def test_each_meaning_names_its_mistake() -> None:
    assert MEANINGS.keys() == MISTAKES.keys()
    assert [mistake for mistake, meaning in MEANINGS.items() if not names(mistake, meaning)] == []


def test_measure_counts_verdicts() -> None:
    everything = {wrong_code(*mistakes): mistakes for mistakes in CASES}
    perfect = measure(lambda cls: "; ".join(MEANINGS[mistake] for mistake in everything[cls]))
    first = measure(lambda cls: MEANINGS[everything[cls][0]], PAIRS)
    unrelated = measure(lambda _: "the computer is on fire")
    assert len(perfect["right"]) == len(CASES)
    assert len(measure(lambda _: "")["none"]) == len(CASES)
    assert len(unrelated["wrong"]) == len(CASES)
    assert first["wrong"] == first["none"] == []
    assert len(first["partly"]) > 0.9 * len(PAIRS)  # of few pairs, the words for one mistake name the other as well


def test_a_sentence_about_another_mistake_is_wrong() -> None:
    mistakes = ("sum-not-mean", "hidden-relu")
    assert verdict(mistakes, "summed over the mini-batch, not averaged") == "partly"
    assert verdict(mistakes, "summed over the mini-batch, not averaged; the hidden layers are ReLU") == "right"
    assert verdict(mistakes, "summed over the mini-batch, not averaged. The output is a softmax.") == "wrong"


# --- What they compute ---------------------------------------------------------------------------------------------


def draw(sizes: tuple[int, ...]) -> tuple[Parameters, Array, Array]:
    rng = np.random.default_rng(5)
    weights = [rng.standard_normal((n_out, n_in)) for n_in, n_out in pairwise(sizes)]
    biases = [rng.standard_normal(n_out) for n_out in sizes[1:]]
    return Parameters(weights, biases), rng.standard_normal((EXAMPLES, sizes[0])), rng.random((EXAMPLES, sizes[-1]))


def flat(nested: Any) -> Iterator[Array]:
    """Yield the arrays of nested lists and tuples in their order."""
    if isinstance(nested, list | tuple):
        for part in nested:
            yield from flat(part)
    else:
        yield nested


def behaviour(mistakes: Mistakes, sizes: tuple[int, ...]) -> list[Array]:
    """Return the gradient of one mini-batch, and the parameters after two steps if the gradient's shape allows them."""
    parameters, x, y = draw(sizes)
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


def numerical_gradient(parameters: Parameters, x: Array, y: Array) -> list[Array]:
    """Return central differences of the quadratic cost."""

    def cost() -> float:
        a = x
        for W, b in zip(*parameters, strict=True):
            a = 1.0 / (1.0 + np.exp(-(a @ W.T + b)))
        return float(np.sum((a - y) ** 2)) / (2 * len(x))

    derivatives = [np.zeros_like(tensor) for tensor in flat(parameters)]
    for tensor, derivative in zip(parameters.weights + parameters.biases, derivatives, strict=True):
        for index in np.ndindex(tensor.shape):
            value = tensor[index]
            tensor[index] = value + 1e-5
            above = cost()
            tensor[index] = value - 1e-5
            derivative[index] = (above - cost()) / 2e-5
            tensor[index] = value
    return derivatives


def test_without_a_mistake_the_gradient_and_the_step_are_right() -> None:
    parameters, x, y = draw(GENERIC)
    code = wrong_code()(GENERIC, EXAMPLES)
    code.load(parameters)
    batch = code.prepare(x, y)
    expected = numerical_gradient(parameters, x, y)
    for derivative, difference in zip(flat(code.gradients(batch)), expected, strict=True):
        np.testing.assert_allclose(derivative, difference, rtol=0, atol=1e-9)
    code.step(batch, RATE)
    for after, before, difference in zip(flat(code.parameters()), flat(parameters), expected, strict=True):
        np.testing.assert_allclose(after, before - RATE * difference, rtol=0, atol=1e-9)


def test_without_a_mistake_it_conforms() -> None:
    assert check(wrong_code(), threads=(1,)) == []


@pytest.mark.parametrize("sizes", [(5, 3), (1, 2, 1), GENERIC])
@pytest.mark.parametrize("examples", [1, 7])
def test_gradients_have_the_dtype_and_are_finite(sizes: tuple[int, ...], examples: int) -> None:
    for mistakes in CASES:
        code = wrong_code(*mistakes)(sizes, examples, "float32")
        parameters, x, y = draw(sizes)
        code.load(Parameters(*([tensor.astype("float32") for tensor in tensors] for tensors in parameters)))
        batch = code.prepare(x[:examples].astype("float32"), y[:examples].astype("float32"))
        gradients = list(flat(code.gradients(batch)))
        assert {gradient.dtype for gradient in gradients} == {np.dtype("float32")}, mistakes
        assert all(np.isfinite(gradient).all() for gradient in gradients), mistakes


def test_a_step_of_its_own_without_a_mistake_is_right() -> None:
    code = wrong_code("momentum")  # whose first step is right
    parameters, x, y = draw(GENERIC)
    steps = []
    for cls in (code, wrong_code()):
        implementation = cls(GENERIC, EXAMPLES)
        implementation.load(parameters)
        implementation.step(implementation.prepare(x, y), RATE)
        steps.append(list(flat(implementation.parameters())))
    assert not are_different(*steps)


def test_no_two_cases_behave_the_same() -> None:
    # Where no matrix is square, going back through W cannot be told from going back through its transpose.
    cases = [mistakes for mistakes in [(), *CASES] if "transposed-back" not in mistakes]
    behaviours = {mistakes: behaviour(mistakes, GENERIC) for mistakes in cases}
    same = [(a, b) for a, b in combinations(cases, 2) if not are_different(behaviours[a], behaviours[b])]
    assert same == []


def test_going_back_through_the_weights_as_they_are_differs_where_they_are_square() -> None:
    for mistakes in CASES:
        if "transposed-back" in mistakes:
            rest = tuple(mistake for mistake in mistakes if mistake != "transposed-back")
            for part in {(), rest, ("transposed-back",)} - {mistakes}:
                assert are_different(behaviour(mistakes, SQUARE), behaviour(part, SQUARE)), (mistakes, part)


@pytest.mark.parametrize("mistake", sorted(set(SINGLES) - set(STEP_MISTAKES)))
def test_a_mistake_in_the_gradient_leaves_the_step_to_the_contract(mistake: str) -> None:
    assert wrong_code(mistake).step is Implementation.step


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # which the kit would report instead of the mistake
def test_the_kit_rejects_every_case() -> None:
    assert [mistakes for mistakes in CASES if not any(violations(wrong_code(*mistakes), diagnosed=False))] == []


def test_pairs_are_varied_and_compatible() -> None:
    unordered = [frozenset(pair) for pair in PAIRS]
    assert len(set(unordered)) == len(PAIRS) >= 80
    assert {mistake for pair in PAIRS for mistake in pair} == set(SINGLES)
    assert not set(unordered) & {frozenset(pair) for pair in NOT_PAIRS}
    assert max(sum(mistake in pair for pair in PAIRS) for mistake in SINGLES) < len(PAIRS) / 3


def test_an_unknown_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match="got typo"):
        wrong_code("sign", "typo")
