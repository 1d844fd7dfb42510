"""The score: how many mutants of each source were rejected, and why those that were not change nothing.

`score.json` holds the counts and the survivors as the last run of each source found them; a digest of its mutants tells
whether they are still today's. `explanations.toml` says of each survivor, by the text of its line, why it survives.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from .sources import Mutant
from .trials import Verdict

SCORE = Path(__file__).with_name("score.json")
EXPLANATIONS = [Path(__file__).with_name(name) for name in ("explanations.toml", "module_explanations.toml")]


class Survivor(msgspec.Struct, frozen=True):
    """A mutant that nobody rejected."""

    function: str
    line: int
    operator: str
    original: str
    mutated: str


class SourceScore(msgspec.Struct, frozen=True):
    """What became of the mutants of one source."""

    digest: str  # of the mutants
    mutants: dict[str, int]  # by operator
    rejected: dict[str, int]  # by judge and what it found
    survivors: list[Survivor]


class Explanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why some mutants survive."""

    why: str
    mutants: dict[str, list[str]]  # the original line to the mutated ones
    changes_results: bool = False  # then it lowers the score; otherwise the mutant is equivalent

    def explains(self, survivor: Survivor) -> bool:
        """Return whether a survivor is one of these."""
        return survivor.mutated in self.mutants.get(survivor.original, ())


def digest(mutants: Iterable[Mutant]) -> str:
    """Return what changes with any of the mutants, and not with the numbers of their lines."""
    return hashlib.sha256("\n".join(sorted(map(repr, (mutant.key for mutant in mutants)))).encode()).hexdigest()


def scored(mutants: Sequence[Mutant], verdicts: Sequence[Verdict]) -> SourceScore:
    """Return the score of one source."""
    return SourceScore(
        digest(mutants),
        dict(Counter(mutant.operator for mutant in mutants)),
        dict(Counter(verdict.rejected_by for verdict in verdicts if verdict.rejected_by).most_common()),
        [msgspec.convert(verdict, Survivor, from_attributes=True) for verdict in verdicts if not verdict.rejected_by],
    )


def read_scores() -> dict[str, SourceScore]:
    """Return the committed scores by source."""
    return msgspec.json.decode(SCORE.read_bytes(), type=dict[str, SourceScore]) if SCORE.exists() else {}


def write_scores(scores: dict[str, SourceScore]) -> None:
    """Write the scores to be committed."""
    SCORE.write_bytes(msgspec.json.format(msgspec.json.encode(scores), indent=1) + b"\n")


def read_explanations() -> list[Explanation]:
    """Return why survivors survive."""
    found = [each for path in EXPLANATIONS for each in tomllib.loads(path.read_text())["explanation"]]
    return msgspec.convert(found, list[Explanation])


def explanation_of(survivor: Survivor, explanations: Sequence[Explanation]) -> Explanation | None:
    """Return the explanation of a survivor, None if it has none."""
    return next((explanation for explanation in explanations if explanation.explains(survivor)), None)


def unexplained(scores: dict[str, SourceScore], explanations: Sequence[Explanation]) -> list[str]:
    """Return the survivors without an explanation, in words."""
    return [
        f"{name}, {survivor.function}, line {survivor.line}: {survivor.original} -> {survivor.mutated}"
        for name, score in scores.items()
        for survivor in score.survivors
        if explanation_of(survivor, explanations) is None
    ]


def idle(scores: dict[str, SourceScore], explanations: Sequence[Explanation]) -> list[str]:
    """Return the explained mutants that no longer survive, or are no longer made, in words."""
    survivors = {(survivor.original, survivor.mutated) for score in scores.values() for survivor in score.survivors}
    explained = (
        (original, mutated)
        for explanation in explanations
        for original, lines in explanation.mutants.items()
        for mutated in lines
    )
    return [f"{original} -> {mutated}" for original, mutated in explained if (original, mutated) not in survivors]


def escaped(score: SourceScore, explanations: Sequence[Explanation]) -> list[Survivor]:
    """Return the survivors that are not known to be equivalent: those that lower the score."""
    found = ((survivor, explanation_of(survivor, explanations)) for survivor in score.survivors)
    return [survivor for survivor, explanation in found if explanation is None or explanation.changes_results]
