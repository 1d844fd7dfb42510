"""What two runs have to say about each other, as text: on the terminal and in Markdown."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.records import Estimate, Results
from bench.report.text import number_text, seconds_text
from bench.results.compare_runs import Comparison, RowChange
from bench.results.verdict import CANT_TELL, FASTER, SAME, SLOWER

COLUMNS = ("workload", "row", "verdict", "new / old time", "old", "new")
COLOURS = {SLOWER: "red", FASTER: "green", CANT_TELL: "yellow"}
WORDS = (SLOWER, FASTER, CANT_TELL, SAME)
NOT_SHOWN = "–"
UNCLEAR_SHOWN = 5  # rows that can't be told


def lines(comparison: Comparison, *, everything: bool = False, styled: bool = False) -> list[str]:
    """Return what is printed, as lines of text: what cannot be compared first, then rows, the clearest first.

    Unless `everything` is shown, rows that stayed the same are counted only, and so are most that can't be told.
    """
    console = Console(width=100, force_terminal=styled, no_color=not styled, highlight=False, emoji=False, markup=False)
    with console.capture() as capture:
        for sentence in _before(comparison):
            console.print(sentence)
        shown = comparison.changes if everything else _clear(comparison.changes)
        if comparison.broken or shown:
            table = Table(*COLUMNS, box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for each in [*comparison.broken, *shown]:
                workload, label, verdict, *rest = _cells(each)
                table.add_row(workload, label, Text(verdict, style=COLOURS.get(verdict, "")), *rest)
            console.print(table)
        for sentence in _after(comparison):
            console.print(sentence)
    return [line.rstrip() for line in capture.get().splitlines()]


def _clear(changes: Sequence[RowChange]) -> list[RowChange]:
    """Return the rows that became faster or slower, and the clearest of those that can't be told."""
    unclear = [each for each in changes if each.verdict == CANT_TELL][:UNCLEAR_SHOWN]
    return [each for each in changes if each.verdict in (SLOWER, FASTER) or each in unclear]


def markdown(comparison: Comparison) -> str:
    """Return the comparison for a pull request: every row, those that did not stay the same first."""
    parts = ["\n".join(f"- {_escaped(sentence)}" for sentence in _before(comparison))]
    rows = [*comparison.broken, *sorted(comparison.changes, key=lambda each: each.verdict == SAME)]
    if rows:
        head = [f"| {' | '.join(COLUMNS)} |", "| --- | --- | --- | --- | ---: | ---: |"]
        parts.append("\n".join(head + [f"| {' | '.join(map(_escaped, _cells(each)))} |" for each in rows]))
    parts.append("\n".join(f"- {_escaped(sentence)}" for sentence in _after(comparison)))
    return "\n\n".join(part for part in parts if part) + "\n"


def ratio_text(ratio: Estimate) -> str:
    """Return a ratio of times with its interval: 1.072 (1.051 to 1.094)."""
    interval = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
    return f"{number_text(ratio.value, 4)}{interval}"


def side_by_side(runs: Sequence[Results]) -> list[str]:
    """Return the speed-ups of several runs beside each other, each run a column: never pooled."""
    console = Console(width=240, highlight=False, emoji=False, markup=False, no_color=True)
    names = [f"{run.machine.cpu_model}, {run.date[:10]}" for run in runs]
    with console.capture() as capture:
        table = Table("workload", "row", *names, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for workload in dict.fromkeys(of.workload.name for run in runs for of in run.workloads):
            for label in dict.fromkeys(row.label for run in runs for row in run.rows_of(workload)):
                table.add_row(workload, label, *(_of_run(run, workload, label) for run in runs))
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def _of_run(run: Results, workload: str, label: str) -> str:
    row = run.row(workload, label)
    if row is None:
        return NOT_SHOWN
    if row.speed_up is not None:
        return ratio_text(row.speed_up)
    return seconds_text(row.seconds) if row.seconds else row.outcome


def _cells(each: RowChange) -> list[str]:
    ratio = ratio_text(each.change.ratio) if each.change else each.reason or NOT_SHOWN
    seconds = (seconds_text(value) if value else NOT_SHOWN for value in (each.old_seconds, each.new_seconds))
    return [each.workload, each.label, each.verdict, ratio, *seconds]


def _before(comparison: Comparison) -> list[str]:
    found = [f"not compared: {words}" for words in comparison.incomparable]
    found += [f"{words}: not compared" for words in comparison.workloads]
    found += [f"note: {words}" for words in comparison.remarks]
    return found


def _after(comparison: Comparison) -> list[str]:
    found = []
    if comparison.changes:
        count = Counter(each.verdict for each in comparison.changes)
        margins = sorted({each.limit for each in comparison.changes})
        margin = " or ".join(f"{100 * limit:g} %" for limit in margins)
        rows = f"{len(comparison.changes)} row{'s' * (len(comparison.changes) > 1)}"
        words = ", ".join(f"{count[word]} {word}" for word in WORDS if count[word])
        found.append(f"{rows}: {words}; a change within {margin} is none.")
    for what, names in (("new", comparison.appeared), ("gone", comparison.vanished)):
        if names:
            found.append(f"{what}: {', '.join(names)}")
    if comparison.broken:
        found.append("no longer timed: " + "; ".join(f"{each.workload}, {each.label}: {each.verdict}: {each.reason}"
                                                     for each in comparison.broken))  # fmt: skip
    return found


def _escaped(text: str) -> str:
    for letter in "\\`*_{}[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return text
