"""Two sources side by side: lines that resemble each other in one row, what differs in them marked, code coloured."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from pygments.lexers import get_lexer_for_filename
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

CONTEXT = 3  # equal lines around what changed
ALIKE = 0.5  # from which share of equal parts on two lines stand in one row
MOST_PAIRS = 10_000  # of lines in one changed stretch that are compared with each other
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
    """A row of the two sources beside each other; None where one has no line."""

    kind: str  # equal, changed, added, removed or skipped
    left: Code | None = None
    right: Code | None = None
    words: str = ""  # what is skipped


def code(path: Path) -> list[Code]:
    """Return the lines of a source in parts."""
    text = path.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path.name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return [[Part(line)] for line in text.splitlines()]
    lines: list[Code] = [[]]
    for token, value in lexer.get_tokens(text):
        kind = next((name for of, name in KINDS if token in of), "")
        first, *others = value.split("\n")
        lines[-1].append(Part(first, kind))
        lines += [[Part(other, kind)] for other in others]
    return lines[:-1] if not plain(lines[-1]) else lines


def plain(line: Code) -> str:
    """Return a line's text."""
    return "".join(part.text for part in line)


def side_by_side(left: Sequence[Code], right: Sequence[Code]) -> list[Line]:
    """Return two sources beside each other, equal lines far from any change left out."""
    found: list[Line] = []
    matcher = difflib.SequenceMatcher(None, list(map(plain, left)), list(map(plain, right)), autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            same = [Line("equal", one, other) for one, other in zip(left[i:j], right[k:m], strict=True)]
            if len(same) > 2 * CONTEXT + 1:
                same[CONTEXT:-CONTEXT] = [Line("skipped", words=f"{len(same) - 2 * CONTEXT} equal lines")]
            found += same
        else:
            found += _changed(left[i:j], right[k:m])
    return found


def _changed(left: Sequence[Code], right: Sequence[Code]) -> list[Line]:
    """Return a changed stretch: lines that are alike in one row, in order, and the others between them."""
    found: list[Line] = []
    i = k = 0
    for one, other in [*_pairs(left, right), (len(left), len(right))]:
        found += [
            Line("removed" if after is None else "added" if before is None else "changed", before, after)
            for before, after in zip_longest(left[i:one], right[k:other])
        ]
        if one < len(left):
            found.append(Line("changed", *_marked(left[one], right[other])))
        i, k = one + 1, other + 1
    return found


def _pairs(left: Sequence[Code], right: Sequence[Code]) -> list[tuple[int, int]]:
    """Return the pairs of lines, in order, that are together most alike: the best alignment."""
    if len(left) * len(right) > MOST_PAIRS:
        return []
    alike = [[_likeness(plain(one), plain(other)) for other in right] for one in left]
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]  # of the lines from i and from k on
    for i in reversed(range(len(left))):
        for k in reversed(range(len(right))):
            paired = alike[i][k] + best[i + 1][k + 1] if alike[i][k] >= ALIKE else 0.0
            best[i][k] = max(paired, best[i + 1][k], best[i][k + 1])
    found, i, k = [], 0, 0
    while i < len(left) and k < len(right):
        if alike[i][k] >= ALIKE and best[i][k] == alike[i][k] + best[i + 1][k + 1]:
            found.append((i, k))
            i, k = i + 1, k + 1
        elif best[i][k] == best[i + 1][k]:
            i += 1
        else:
            k += 1
    return found


def _likeness(one: str, other: str) -> float:
    matcher = difflib.SequenceMatcher(None, one.strip(), other.strip(), autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= ALIKE and one.strip() else 0.0


def _marked(left: Code, right: Code) -> tuple[Code, Code]:
    """Return two lines with those parts marked that the other one lacks."""
    matcher = difflib.SequenceMatcher(None, [part.text for part in left], [part.text for part in right], autojunk=False)
    same = [(set(range(i, i + size)), set(range(k, k + size))) for i, k, size in matcher.get_matching_blocks()]
    sides = []
    for side, line in enumerate((left, right)):
        kept = set().union(*(pair[side] for pair in same))
        sides.append([part if n in kept or not part.text.strip() else replace(part, marked=True)
                      for n, part in enumerate(line)])  # fmt: skip
    return sides[0], sides[1]
