"""What two runs have to say about each other, as text: on the terminal and in Markdown."""

import re
from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from bench.analysis.compare_runs import Comparison, ResultChange
from bench.analysis.verdict import FASTER, INCONCLUSIVE, SAME, SLOWER
from bench.output.table import plain_table, printed
from bench.output.text import number_text, seconds_text
from bench.records import Estimate, Result, Results

COLUMNS = ("workload", "row", "verdict", "new / old time", "old", "new")
COLOURS = {SLOWER: "red", FASTER: "green", INCONCLUSIVE: "yellow"}
NOT_SHOWN = "–"
WIDTH, SIDE_BY_SIDE_WIDTH = 100, 240  # characters
UNCLEAR_SHOWN = 5  # changes that can't be told
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|])")  # letters that mean something in Markdown


def lines(comparison: Comparison, *, everything: bool = False, styled: bool = False) -> list[str]:
    """Return what is printed, as lines of text: what cannot be compared first, then changes, the clearest first.

    Unless `everything` is shown, what stayed the same is counted only, and so is most that can't be told.
    """
    shown = [*comparison.broken, *(comparison.changes if everything else _clear(comparison.changes))]
    rows: list[list[str | Text]] = []
    for change in shown:
        workload, label, word, *figures = _cells(change)
        rows.append([workload, label, Text(word, style=COLOURS.get(word, "")), *figures])
    tables = [plain_table(COLUMNS, rows)] if rows else []
    return printed([*_before(comparison), *tables, *_after(comparison)], WIDTH, styled)


def _clear(changes: Sequence[ResultChange]) -> list[ResultChange]:
    """Return what became faster or slower, and the clearest of what can't be told."""
    unclear = [change for change in changes if change.verdict == INCONCLUSIVE][:UNCLEAR_SHOWN]
    return [change for change in changes if change.verdict in (SLOWER, FASTER) or change in unclear]


def markdown(comparison: Comparison) -> str:
    """Return the comparison for a pull request: every result, those that did not stay the same first."""
    changes = [*comparison.broken, *sorted(comparison.changes, key=lambda change: change.verdict == SAME)]
    cells = [list(map(_escaped, _cells(change))) for change in changes]
    table = [COLUMNS, ["---"] * 4 + ["---:"] * 2, *cells] if changes else []
    parts = [
        [f"- {_escaped(sentence)}" for sentence in _before(comparison)],
        [f"| {' | '.join(line)} |" for line in table],
        [f"- {_escaped(sentence)}" for sentence in _after(comparison)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def ratio_text(ratio: Estimate) -> str:
    """Return a ratio of times with its interval: 1.072 (1.051 to 1.094)."""
    interval = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
    return f"{number_text(ratio.value, 4)}{interval}"


def side_by_side(runs: Sequence[Results]) -> list[str]:
    """Return the speed-ups of several runs beside each other, each run a column: never pooled."""
    columns = ["workload", "row", *(f"{run.machine.cpu_model}, {run.date[:10]}" for run in runs)]
    names = dict.fromkeys((result.workload, result.label) for run in runs for result in run.rows)
    rows = [[*name, *(_speed_up_text(run.row(*name)) for run in runs)] for name in names]
    return printed([plain_table(columns, rows)], SIDE_BY_SIDE_WIDTH)


def _speed_up_text(result: Result | None) -> str:
    if result is None:
        return NOT_SHOWN
    if result.speed_up is not None:
        return ratio_text(result.speed_up)
    return seconds_text(result.seconds) if result.seconds else result.outcome


def _cells(change: ResultChange) -> list[str]:
    ratio = ratio_text(change.ratio) if change.ratio else change.reason or NOT_SHOWN
    seconds = (seconds_text(value) if value else NOT_SHOWN for value in (change.old_seconds, change.new_seconds))
    return [change.workload, change.label, change.verdict, ratio, *seconds]


def _before(comparison: Comparison) -> list[str]:
    """Return the sentences above the table."""
    not_compared = [f"not compared: {difference}" for difference in [*comparison.incomparable, *comparison.workloads]]
    return not_compared + [f"note: {remark}" for remark in comparison.remarks]


def _after(comparison: Comparison) -> list[str]:
    """Return the sentences below the table."""
    sentences = []
    changes = comparison.changes
    if changes:
        count = Counter(change.verdict for change in changes)
        counts = ", ".join(f"{count[word]} {word}" for word in (SLOWER, FASTER, INCONCLUSIVE, SAME) if count[word])
        margin = " or ".join(f"{100 * limit:g} %" for limit in sorted({change.limit for change in changes}))
        rows = f"{len(changes)} row{'s' * (len(changes) > 1)}"
        sentences.append(f"{rows}: {counts}; changes within ± {margin} count as unchanged.")
    if comparison.appeared:
        sentences.append(f"new: {', '.join(comparison.appeared)}")
    if comparison.vanished:
        sentences.append(f"gone: {', '.join(comparison.vanished)}")
    return sentences


def _escaped(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", text)
