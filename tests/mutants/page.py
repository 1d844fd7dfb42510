"""The page of the score, `results/notes/mutants.md`, made from the committed scores and explanations alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from impls import ROOT

from .score import Explanation, SourceScore, escaped, explanation_of
from .sources import MODULES

PAGE: Path = ROOT / "results" / "notes" / "mutants.md"
HEAD = """# Mutants

The conformance kit (`backprop verify`) is itself tested: does it notice when a correct row is made wrong? A script
makes one small mistake in the source of a row, or in the methods that rows inherit from the contract: a sign, an axis,
a transposition, a bound, a buffer that is not zeroed, a statement left out. Each of these mutants is a row of its own,
and the kit has to reject it.

`python -m tests.mutants` makes and judges them all and writes this page; it fails if a mutant survives without an
explanation. Of `numba`, whose mutants compile for seconds each, one in 24 is judged, always the same ones.

It does the same with the [statistics, the comparison and the results](#statistics-comparison-and-results) of the
benchmark itself, whose tests have to reject the mutants.
"""
TOTALS = """
| source | mutants | rejected | equivalent | wrong, not rejected | score |
| --- | ---: | ---: | ---: | ---: | ---: |
"""
SCORE = """
The score is the share of the rejected among those that are not equivalent. *Equivalent* is a mutant that computes the
same to within rounding: it survives, and below is said why. Texts, annotations, `strict=True` and decorators are not
mutated.

## What rejects them
"""
MODULE_HEAD = """
## Statistics, comparison and results

The functions of `bench/results` are mutated in the same way, and judged by those of their tests that take less than a
second: they run until one fails.
"""
SURVIVORS = """
## Survivors

Each mutant that survives, by the reason why it does. None of these lines was written by hand; the reasons were.
"""


def page(scores: dict[str, SourceScore], explanations: Sequence[Explanation]) -> str:
    """Return the page."""
    modules = {name: score for name, score in scores.items() if name in MODULES}
    rows = {name: score for name, score in scores.items() if name not in MODULES}
    return "".join(
        (
            HEAD,
            _totals(rows, explanations),
            SCORE,
            _rejections(rows),
            _operators(rows),
            MODULE_HEAD,
            _totals(modules, explanations),
            _operators(modules),
            SURVIVORS,
            *(_survivors(explanation, scores, explanations) for explanation in explanations),
        )
    )


def _totals(scores: dict[str, SourceScore], explanations: Sequence[Explanation]) -> str:
    lines = [_total(f"`{name}`", [score], explanations) for name, score in scores.items()]
    return "".join((TOTALS, *lines, _total("all", list(scores.values()), explanations))) if scores else ""


def percent(scores: Sequence[SourceScore], explanations: Sequence[Explanation]) -> float:
    """Return the score: rejected mutants per hundred of those that are not equivalent."""
    rejected = sum(sum(score.rejected.values()) for score in scores)
    return 100 * rejected / (rejected + sum(len(escaped(score, explanations)) for score in scores))


def _total(name: str, scores: Sequence[SourceScore], explanations: Sequence[Explanation]) -> str:
    rejected = sum(sum(score.rejected.values()) for score in scores)
    survivors = sum(len(score.survivors) for score in scores)
    wrong = sum(len(escaped(score, explanations)) for score in scores)
    score = f"{percent(scores, explanations):.1f} %"
    return f"| {name} | {rejected + survivors} | {rejected} | {survivors - wrong} | {wrong} | {score} |\n"


def _rejections(scores: dict[str, SourceScore]) -> str:
    """Return which judge and which check rejected how many: the first that does counts."""
    total: Counter[str] = Counter()
    for score in scores.values():
        total.update(score.rejected)
    lines = "".join(f"| {reason.replace(': ', ' | ')} | {count} |\n" for reason, count in total.most_common())
    return "\n| judge | what it found first | mutants |\n| --- | --- | ---: |\n" + lines


def _operators(scores: dict[str, SourceScore]) -> str:
    made: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for score in scores.values():
        made.update(score.mutants)
        survived.update(survivor.operator for survivor in score.survivors)
    lines = "".join(f"| {operator} | {count} | {survived[operator]} |\n" for operator, count in made.most_common())
    return "\n| mutation | mutants | survivors |\n| --- | ---: | ---: |\n" + lines


def _survivors(explanation: Explanation, scores: dict[str, SourceScore], explanations: Sequence[Explanation]) -> str:
    lines = "".join(
        f"- `{name}`, `{survivor.function}`: `{survivor.original}` → `{survivor.mutated}`\n"
        for name, score in scores.items()
        for survivor in score.survivors
        if explanation_of(survivor, explanations) is explanation
    )
    kind = "**Wrong, and not rejected.** " if explanation.changes_results else ""
    return f"\n{kind}{explanation.why}\n\n{lines}"
