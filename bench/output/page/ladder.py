"""The ladder: from step to step what was bought, where the time went, and the two sources side by side."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from pathlib import Path

from pygments.lexers import get_lexer_for_filename
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from bench.analysis.compare_implementations import compare_implementations
from bench.output.page.facts import Recorded
from bench.records import Estimate, Results
from impls import ROOT
from impls.registry import ENTRIES

WORKLOAD = "book"
LADDER = (
    ("pure_python", "per_example", "NumPy instead of lists"),
    ("per_example", "batched_2d", "all examples of a mini-batch in one product"),
    ("batched_2d", "in_place", "no temporaries; BLAS adds to the weights itself"),
    ("in_place", "numba", "compiled: passes fused, no Python between them"),
    ("numba", "rust_fused", "own kernels for small products, the update inside the last one"),
)
RUST = {"rust_fused": "impls/rust/src/fused/mod.rs"}  # the sources of implementations in Rust
CONTEXT = 3  # equal lines around what changed
ALIKE = 0.5  # share of equal parts from which on the others are marked in two lines beside each other
KINDS = (  # of parts of the code, as classes of the page's style; the first that holds counts
    (String, "s"),
    (Comment, "c"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Number, "n"),
    (Name.Function, "f"),
    (Name.Class, "f"),
)


@dataclass(frozen=True)
class Part:
    """A part of a line: its text, what it is, whether the other line lacks it."""

    text: str
    kind: str = ""  # a class of KINDS
    marked: bool = False


Code = list[Part]  # a line


@dataclass(frozen=True)
class Line:
    """A line of the two sources beside each other; None where one has no line."""

    kind: str  # equal, changed, added, removed or skipped
    left: Code | None = None
    right: Code | None = None
    words: str = ""  # what is skipped


@dataclass(frozen=True)
class Step:
    """A step of the ladder."""

    slow: str
    fast: str
    words: str
    ratio: Estimate
    shares: list[tuple[str, str, str]]  # category, per cent before, per cent after
    left_file: str
    right_file: str
    lines: list[Line]


def ladder(results: Results, recordings: Sequence[Recorded]) -> list[Step]:
    """Return the steps whose two implementations were timed on the book's network."""
    shares = {each.row: each.shares for each in recordings if each.workload == WORKLOAD}
    steps = []
    for slow, fast, words in _steps(results):
        left, right = _source(slow), _source(fast)
        steps.append(
            Step(
                slow=slow,
                fast=fast,
                words=words,
                ratio=compare_implementations(results, slow, fast)[WORKLOAD],
                shares=_shares(shares[slow], shares[fast]) if {slow, fast} <= shares.keys() else [],
                left_file=left.name if left else "",
                right_file=right.name if right else "",
                lines=side_by_side(code(left), code(right)) if left and right else [],
            )
        )
    return steps


def _steps(results: Results) -> Iterator[tuple[str, str, str]]:
    """Return the steps between implementations that were timed; one that was not is stepped over."""
    timed = {row.label for row in results.rows_of(WORKLOAD) if row.timed}
    last = ""
    for slow, fast, words in LADDER:
        if not last and slow in timed:
            last = slow
        if last and fast in timed:
            yield last, fast, words if last == slow else f"… {words}"
            last = fast


def _source(label: str) -> Path | None:
    """Return the file that an implementation of ours is written in, None if it is not to be had."""
    path = ROOT / RUST.get(label, f"impls/{ENTRIES[label].source}")
    return path if path.is_file() else None


def _shares(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> list[tuple[str, str, str]]:
    """Return the shares of categories that have half a per cent or more before or after."""
    percents = [(name, before.get(name, (0.0,))[0], after.get(name, (0.0,))[0]) for name in {**before, **after}]
    return [(name, f"{was:.0f} %", f"{now:.0f} %") for name, was, now in percents if max(was, now) >= 0.5]


# --- Two sources side by side ------------------------------------------------------------------------------------


def code(path: Path) -> list[Code]:
    """Return the lines of a source in parts."""
    text = path.read_text(encoding="utf-8").rstrip("\n")
    lexer = get_lexer_for_filename(path.name, stripnl=False, ensurenl=False)
    lines: list[Code] = [[]]
    for token, value in lexer.get_tokens(text):
        kind = next((name for token_type, name in KINDS if token in token_type), "")
        first, *others = value.split("\n")
        lines[-1].append(Part(first, kind))
        lines += [[Part(other, kind)] for other in others]
    return lines


def plain(line: Code) -> str:
    """Return a line's text."""
    return "".join(part.text for part in line)


def side_by_side(left: Sequence[Code], right: Sequence[Code]) -> list[Line]:
    """Return two sources beside each other, equal lines far from any change left out."""
    lines: list[Line] = []
    for kind, group in groupby(_aligned(left, right), key=lambda line: line.kind):
        same = list(group)
        if kind == "equal" and len(same) > 2 * CONTEXT + 1:
            same[CONTEXT:-CONTEXT] = [Line("skipped", words=f"{len(same) - 2 * CONTEXT} equal lines")]
        lines += same
    return lines


def _aligned(left: Sequence[Code], right: Sequence[Code]) -> Iterator[Line]:
    """Return two sources line by line; lines that `difflib.ndiff` finds alike stand beside each other."""
    lefts, rights = iter(left), iter(right)
    removed: list[Code] = []
    added: list[Code] = []
    for line in difflib.ndiff([*map(plain, left)], [*map(plain, right)], charjunk=None):
        sign = line[0]
        if sign == "?":  # the last removed line and the first added one are alike
            yield from _beside(removed[:-1], [])
            removed = removed[-1:]
            continue
        if sign == " " or (sign == "-" and added):
            yield from _beside(removed, added)
            removed, added = [], []
        if sign == " ":
            yield Line("equal", next(lefts), next(rights))
        elif sign == "-":
            removed.append(next(lefts))
        else:
            added.append(next(rights))
    yield from _beside(removed, added)


def _beside(removed: Sequence[Code], added: Sequence[Code]) -> Iterator[Line]:
    for before, after in zip_longest(removed, added):
        if before is None or after is None:
            yield Line("removed" if after is None else "added", before, after)
        else:
            yield Line("changed", *_marked(before, after))


def _marked(left: Code, right: Code) -> tuple[Code, Code]:
    """Return two lines that are alike with those parts marked that the other one lacks."""
    matcher = difflib.SequenceMatcher(None, [part.text for part in left], [part.text for part in right], autojunk=False)
    if matcher.ratio() < ALIKE:
        return left, right
    blocks = matcher.get_matching_blocks()
    same_left = {i + offset for i, _, size in blocks for offset in range(size)}
    same_right = {k + offset for _, k, size in blocks for offset in range(size)}
    return _mark(left, same_left), _mark(right, same_right)


def _mark(line: Code, same: set[int]) -> Code:
    return [
        part if number in same or not part.text.strip() else replace(part, marked=True)
        for number, part in enumerate(line)
    ]
