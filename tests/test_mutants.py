"""Mutants of the rows and of modules are rejected, and the committed score is that of today's sources.

The score itself takes minutes: `python -m tests.mutants`.
"""

import ast
from collections.abc import Iterator

import msgspec
import pytest
from mutants import score
from mutants.module_judges import LEFT_OUT, TESTS
from mutants.operators import OPERATORS
from mutants.page import PAGE, page, percent
from mutants.sources import MODULES, ROWS, SOURCES, Mutant
from mutants.trials import Court, verdicts

from impls import ROOT

WRONG = {  # an operator to one of its mutants: the source, the original line, the mutated one
    "arithmetic": ("interface", "p -= learning_rate * dp", "p += learning_rate * dp"),
    "in place": ("interface", "p -= learning_rate * dp", "p = p - learning_rate * dp"),
    "comparison": ("interface", "if len(x) > self.batch_size:", "if len(x) >= self.batch_size:"),
    "condition": (
        "batched_2d",
        "lowest = -708.0 if z.dtype == np.float64 else -87.0",
        "lowest = -708.0",
    ),
    "constant": ("batched_2d", "db.insert(0, delta.sum(axis=0))", "db.insert(0, delta.sum(axis=1))"),
    "bounds": (
        "interface",
        "self.step(self.take(data, order[start:start + self.batch_size]), learning_rate)",
        "self.step(self.take(data, order[start:]), learning_rate)",
    ),
    "transposition": ("batched_2d", "z = activations[-1] @ W.T + b", "z = activations[-1] @ W + b"),
    "conversion": (
        "interface",
        "return Parameters([W.copy() for W in self.weights], [b.copy() for b in self.biases])",
        "return Parameters([W for W in self.weights], [b.copy() for b in self.biases])",
    ),
    "not zeroed": (
        "per_example",
        "nabla_W = [np.zeros(W.shape, self.dtype) for W in self.weights]",
        "nabla_W = [np.full(W.shape, np.nan, self.dtype) for W in self.weights]",
    ),
    "function": ("in_place", "np.exp(z, z)", "np.expm1(z, z)"),
    "arguments": ("in_place", "np.minimum(z, most, out=z)", "np.minimum(z, most)"),
    "twin": ("in_place", "np.subtract(a, y, delta)", "np.subtract(a, x, delta)"),
    "statement": ("multithreaded", "b[part] -= learning_rate * mine.sum(axis=0)", "pass"),
}


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    with Court(20) as judges:
        yield judges


def mutant(operator: str) -> Mutant:
    name, original, mutated = WRONG[operator]
    found = (m for m in SOURCES[name].mutants() if (m.operator, m.original, m.mutated) == (operator, original, mutated))
    return next(found)


def test_every_operator_has_an_example() -> None:
    assert WRONG.keys() == OPERATORS.keys()


@pytest.mark.parametrize("operator", WRONG)
def test_mutant_is_rejected(court: Court, operator: str) -> None:
    wrong = mutant(operator)
    assert court.rejected_by(wrong.text, SOURCES[wrong.source].class_name).startswith("verify: ")


@pytest.mark.slow("makes all mutants")
@pytest.mark.parametrize("name", ["interface", "batched_2d", "in_place"])
def test_source_itself_is_not_rejected(court: Court, name: str) -> None:
    assert court.rejected_by(SOURCES[name].control(), SOURCES[name].class_name) == ""


def test_crash_and_hang_are_rejections() -> None:
    with Court(1) as court:
        assert court.rejected_by("import os\nos.abort()", "Row") == "verify: crashes"
        assert court.rejected_by("while True: pass", "Row") == "verify: hangs"
        assert court.rejected_by("print('not an answer')", "Row") == "verify: crashes"


def test_mutants_of_a_module_are_rejected_by_its_tests() -> None:
    some = [m for m in MODULES["history"].mutants() if m.original.startswith("return ', '.join(found + ")]
    with Court(20, "module_judges") as court:
        assert court.rejected_by(MODULES["history"].control(), "history") == ""
        assert court.rejected_by(some[0].text, "history") == "tests: test_history.py"
        assert court.rejected_by(MODULES["history"].control(), "history") == ""  # each is judged in a fork


def test_every_module_of_the_results_has_its_judges() -> None:
    files = {path.stem for path in (ROOT / "bench" / "results").glob("*.py")}
    assert MODULES.keys() == TESTS.keys() == files - {"__init__", "schema1", "schema2"}  # those read old files
    texts = [(ROOT / "tests" / f"test_{file}.py").read_text() for of_module in TESTS.values() for file in of_module]
    assert [name for name in LEFT_OUT if not any(f"def {name}(" in text for text in texts)] == []


@pytest.mark.slow("makes all mutants")
def test_verdicts_keep_the_order_of_the_mutants() -> None:
    equivalent = "if layer >= 0:"
    some = [m for m in SOURCES["batched_2d"].mutants() if m.original == "if layer > 0:"]
    found = list(verdicts(SOURCES["batched_2d"], some, processes=2))
    assert [verdict.mutated for verdict in found] == [m.mutated for m in some]
    assert [verdict.rejected_by for verdict in found if verdict.mutated == equivalent] == [""]
    assert any(verdict.rejected_by for verdict in found)


def test_mutants_are_python_and_no_two_are_alike() -> None:
    rows = [mutant.text for name in ("interface", "batched_2d") for mutant in SOURCES[name].mutants()]
    assert len({ast.dump(ast.parse(row)) for row in rows}) == len(rows) > 200


def test_texts_and_strictness_are_not_mutated() -> None:
    for m in SOURCES["interface"].mutants():
        assert "strict=False" not in m.text
        assert (
            m.operator == "statement"
            or "sizes: expected two or more positive layer sizes, got {tuple(sizes)}" in m.text
        )


# --- The committed score -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_score_is_of_todays_mutants(name: str) -> None:
    mutants = list(SOURCES[name].mutants())
    of_source = score.read_scores()[name]
    assert sum(of_source.mutants.values()) == len(mutants)
    assert of_source.digest == score.digest(mutants), f"sources have changed: python -m tests.mutants {name}"


def test_score_is_high_and_every_survivor_is_explained() -> None:
    scores, explanations = score.read_scores(), score.read_explanations()
    assert scores.keys() == SOURCES.keys()
    assert percent([scores[name] for name in ROWS], explanations) >= 98.0
    assert all(percent([scores[name]], explanations) >= 90.0 for name in MODULES)
    assert score.unexplained(scores, explanations) == []
    assert score.idle(scores, explanations) == []


def test_page_is_of_the_committed_score() -> None:
    assert PAGE.read_text() == page(score.read_scores(), score.read_explanations())


def test_wrong_survivors_lower_the_score_and_unexplained_ones_are_named() -> None:
    survivors = [score.Survivor("step", n, "constant", f"a = {n}", "a = 9") for n in range(4)]
    scores = {"row": score.SourceScore("", {"constant": 10}, {"verify: step": 6}, survivors)}
    explanations = [
        score.Explanation("It is not read.", {"a = 0": ["a = 9"], "a = 1": ["a = 9"]}),
        score.Explanation("Nobody looks.", {"a = 2": ["a = 9", "a = 8"]}, changes_results=True),
    ]
    assert percent(list(scores.values()), explanations) == 75.0
    assert score.unexplained(scores, explanations) == ["row, step, line 3: a = 3 -> a = 9"]
    assert score.idle(scores, explanations) == ["a = 2 -> a = 8"]
    assert "**Wrong, and not rejected.** Nobody looks." in page(scores, explanations)


def test_digest_ignores_the_numbers_of_lines_and_nothing_else() -> None:
    some = list(SOURCES["batched_2d"].mutants())
    moved = [Mutant(m.source, m.function, m.line + 7, m.operator, m.original, m.mutated, m.text) for m in some]
    assert score.digest(moved) == score.digest(some)
    assert score.digest(some[1:]) != score.digest(some)
    assert msgspec.json.decode(score.SCORE.read_bytes())  # plain JSON
