"""What two runs have to say about each other, as text: on the terminal and in Markdown."""

import re
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.analysis.compare_runs import Comparison, ResultChange
from bench.analysis.verdict import FASTER, INCONCLUSIVE, SAME, SLOWER
from bench.output.text import number_text, seconds_text
from bench.records import Estimate, Results

COLUMNS = ("workload", "row", "verdict", "new / old time", "old", "new")
COLOURS = {SLOWER: "red", FASTER: "green", INCONCLUSIVE: "yellow"}
NOT_SHOWN = "–"
UNCLEAR_SHOWN = 5  # changes that can't be told
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|])")  # letters that mean something in Markdown


def lines(comparison: Comparison, *, everything: bool = False, styled: bool = False) -> list[str]:
    """Return what is printed, as lines of text: what cannot be compared first, then changes, the clearest first.

    Unless `everything` is shown, what stayed the same is counted only, and so is most that can't be told.
    """
    console = _console(100, styled)
    with console.capture() as capture:
        for sentence in _before(comparison):
            console.print(sentence)
        shown = comparison.changes if everything else _clear(comparison.changes)
        if comparison.broken or shown:
            table = _table(*COLUMNS)
            for each in [*comparison.broken, *shown]:
                workload, label, verdict, *rest = _cells(each)
                table.add_row(workload, label, Text(verdict, style=COLOURS.get(verdict, "")), *rest)
            console.print(table)
        for sentence in _after(comparison):
            console.print(sentence)
    return [line.rstrip() for line in capture.get().splitlines()]


def _console(width: int, styled: bool) -> Console:
    return Console(width=width, force_terminal=styled, no_color=not styled, highlight=False, emoji=False, markup=False)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _clear(changes: Sequence[ResultChange]) -> list[ResultChange]:
    """Return what became faster or slower, and the clearest of what can't be told."""
    unclear = [each for each in changes if each.verdict == INCONCLUSIVE][:UNCLEAR_SHOWN]
    return [each for each in changes if each.verdict in (SLOWER, FASTER) or each in unclear]


def markdown(comparison: Comparison) -> str:
    """Return the comparison for a pull request: every result, those that did not stay the same first."""
    changes = [*comparison.broken, *sorted(comparison.changes, key=lambda each: each.verdict == SAME)]
    rows = [_cells(each) for each in changes]
    table = [
        list(COLUMNS),
        ["---"] * 4 + ["---:"] * 2,
        *(list(map(_escaped, row)) for row in rows),
    ]
    parts = [
        [f"- {_escaped(sentence)}" for sentence in _before(comparison)],
        [f"| {' | '.join(row)} |" for row in table] if rows else [],
        [f"- {_escaped(sentence)}" for sentence in _after(comparison)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def ratio_text(ratio: Estimate) -> str:
    """Return a ratio of times with its interval: 1.072 (1.051 to 1.094)."""
    interval = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
    return f"{number_text(ratio.value, 4)}{interval}"


def side_by_side(runs: Sequence[Results]) -> list[str]:
    """Return the speed-ups of several runs beside each other, each run a column: never pooled."""
    table = _table("workload", "row", *(f"{run.machine.cpu_model}, {run.date[:10]}" for run in runs))
    for workload, label in dict.fromkeys((row.workload, row.label) for run in runs for row in run.rows):
        table.add_row(workload, label, *(_speed_up_text(run, workload, label) for run in runs))
    console = _console(240, styled=False)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def _speed_up_text(run: Results, workload: str, label: str) -> str:
    row = run.row(workload, label)
    if row is None:
        return NOT_SHOWN
    if row.speed_up is not None:
        return ratio_text(row.speed_up)
    return seconds_text(row.seconds) if row.seconds else row.outcome


def _cells(each: ResultChange) -> list[str]:
    ratio = ratio_text(each.ratio) if each.ratio else each.reason or NOT_SHOWN
    seconds = (seconds_text(value) if value else NOT_SHOWN for value in (each.old_seconds, each.new_seconds))
    return [each.workload, each.label, each.verdict, ratio, *seconds]


def _before(comparison: Comparison) -> list[str]:
    """Return the sentences above the table."""
    not_compared = [f"not compared: {difference}" for difference in [*comparison.incomparable, *comparison.workloads]]
    return not_compared + [f"note: {remark}" for remark in comparison.remarks]


def _after(comparison: Comparison) -> list[str]:
    """Return the sentences below the table."""
    sentences = []
    if comparison.changes:
        count = Counter(each.verdict for each in comparison.changes)
        counts = ", ".join(f"{count[word]} {word}" for word in (SLOWER, FASTER, INCONCLUSIVE, SAME) if count[word])
        limits = sorted({each.limit for each in comparison.changes})
        margin = " or ".join(f"{100 * limit:g} %" for limit in limits)
        rows = f"{len(comparison.changes)} row{'s' * (len(comparison.changes) > 1)}"
        sentences.append(f"{rows}: {counts}; changes within ± {margin} count as unchanged.")
    if comparison.appeared:
        sentences.append(f"new: {', '.join(comparison.appeared)}")
    if comparison.vanished:
        sentences.append(f"gone: {', '.join(comparison.vanished)}")
    broken = [f"{each.workload}, {each.label}: {each.verdict}: {each.reason}" for each in comparison.broken]
    if broken:
        sentences.append(f"no longer timed: {'; '.join(broken)}")
    return sentences


def _escaped(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", text)
