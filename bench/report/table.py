"""The tables of speed-ups: on the terminal after a run, and in Markdown."""

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.records import NOT_TIMED_HERE, FirstCall, Results, Row, WorkloadResult
from bench.report.findings import fastest, findings
from bench.report.text import (
    flops_text,
    interval_text,
    margin_text,
    number_text,
    seconds_text,
    short_outcome,
    short_seconds_text,
)
from bench.results.notes import OVER_SHARE, failure_text, jittery, no_peak_text

PERCENT = "% of peak"
SHORT = ("row", "time", "speed-up", "95 % interval", PERCENT, "cores")
WHOLE = (*SHORT, "peak MB", "import", "set-up", "1st call")
WIDTH, WHOLE_WIDTH = 80, 240  # characters
FEW = 3  # workloads that get a table each; more of them share one
NOTES = 6  # that the short summary shows
JITTERY = "~"  # marks a row whose own jitter the lower quartile forgives
JITTERY_WORDS = f"{JITTERY} jitter: a quarter of the samples took clearly longer than the time says"


def summary_lines(results: Results, whole: bool = False, styled: bool = False) -> list[str]:
    """Return what is printed after a run, as lines of text: tables, findings, notes.

    The short summary fits 80 columns; `whole` has all columns of all workloads and all notes. With `styled`, lines
    hold a terminal's colours.
    """
    console = Console(
        width=WHOLE_WIDTH if whole else WIDTH,
        force_terminal=styled,
        no_color=not styled,
        highlight=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as capture:
        if whole or len(results.workloads) <= FEW:
            for of in results.workloads:
                _print_workload(console, results, of, WHOLE if whole else SHORT)
        else:
            _print_overview(console, results)
        for sentence in findings(results):
            console.print(sentence)
        notes, left_out = (results.notes, 0) if whole else _short_notes(results)
        for note in notes:
            console.print(f"note: {note}", soft_wrap=whole)
        if left_out:
            console.print(f"{left_out} more in the results; -v prints all notes")
    return [line.rstrip() for line in capture.get().splitlines()]


def _short_notes(results: Results) -> tuple[list[str], int]:
    """Return the notes of the short summary, and how many others there are: why rows failed, then the first few.

    Whatever else is left out, each row's reason is there, with the workload on which it failed first.
    """
    failures: dict[tuple[str, str, str], list[str]] = {}  # by label, outcome and reason
    for row in results.rows:
        if failure_text(row) in results.notes:
            failures.setdefault((row.label, row.outcome, row.reason), []).append(failure_text(row))
    told = {note for notes in failures.values() for note in notes}
    others = [note for note in results.notes if note not in told]
    first = [notes[0] + (f" (and on {len(notes) - 1} more)" if notes[1:] else "") for notes in failures.values()]
    return first + others[:NOTES], len(others[NOTES:])


def _print_workload(console: Console, results: Results, of: WorkloadResult, columns: tuple[str, ...]) -> None:
    """Print the table of one workload, the fastest row last, and why rows have no time."""
    workload = of.workload
    rows = results.rows_of(workload.name)
    title = f"{workload.name}: {workload.describe()}; speed-ups over {workload.baseline_label}"
    shown = [number for number, column in enumerate(columns) if of.peak or column != PERCENT]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number in shown:
        table.add_column(columns[number], justify="right" if number else "left", no_wrap=True)
    best, marked = fastest(results, of), jittery(rows)
    for row in sorted((row for row in rows if row.timed), key=lambda row: -(row.seconds or 0.0)):
        cells = _cells(row, workload.baseline_label)
        cells[1] += JITTERY if row.label in marked else ""
        table.add_row(*(cells[number] for number in shown), style="bold" if row in best else None)
    console.print("; ".join([title, *_rates(of)]))
    console.print(table)
    if marked:
        console.print(JITTERY_WORDS)
    for row in rows:
        if row.outcome in NOT_TIMED_HERE:  # notes tell of the others
            console.print(f" {row.label}: {row.outcome}: {row.reason}", soft_wrap=columns is WHOLE)


def _rates(of: WorkloadResult) -> list[str]:
    """Return what rows are measured against: peak 16.2 µs at 58.5 Gflop/s, NumPy's product reaches 88 %."""
    words = []
    if of.peak and of.peak.flops_per_second and of.peak_seconds:
        words.append(f"peak {seconds_text(of.peak_seconds)} at {flops_text(of.peak.flops_per_second)}/s")
    if of.reference_percent is not None:
        words.append(f"NumPy's product reaches {of.reference_percent:.0f} %")
    elif of.reference and of.reference.flops_per_second:
        words.append(f"NumPy's product reaches {flops_text(of.reference.flops_per_second)}/s")
    return words


def _print_overview(console: Console, results: Results) -> None:
    """Print one table of all workloads, as many columns at a time as fit."""
    labels = list(dict.fromkeys(row.label for row in results.rows))
    cells = {of.workload.name: _overview_cells(results, of) for of in results.workloads}
    room = WIDTH - max(map(len, labels)) - 1
    widths = [
        max(map(len, (*_heading(results, of).split("\n"), *cells[of.workload.name].values()))) + 1
        for of in results.workloads
    ]
    console.print("Speed-ups (of the baseline: its time; of a row that was not timed: why)", style="bold")
    start = 0
    while start < len(widths):
        end, used = start + 1, widths[start]
        while end < len(widths) and used + widths[end] <= room:
            used += widths[end]
            end += 1
        console.print(_overview(results, results.workloads[start:end], cells))
        start = end
    if any(cell.endswith(JITTERY) for of_workload in cells.values() for cell in of_workload.values()):
        console.print(JITTERY_WORDS)


def _overview(results: Results, workloads: list[WorkloadResult], cells: dict[str, dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for of in workloads:
        table.add_column(_heading(results, of), justify="right", no_wrap=True, vertical="bottom")
    best = {of.workload.name: [row.label for row in fastest(results, of)] for of in workloads}
    names = [of.workload.name for of in workloads]
    for label in dict.fromkeys(row.label for row in results.rows):
        line = [Text(cells[name].get(label, ""), "bold" if label in best[name] else "") for name in names]
        if any(cell.plain for cell in line):
            table.add_row(label, *line)
    return table


def _overview_cells(results: Results, of: WorkloadResult) -> dict[str, str]:
    """Return what the table of all workloads has of each row of one of them."""
    rows = results.rows_of(of.workload.name)
    marked = jittery(rows)
    return {
        row.label: _overview_cell(row, of.workload.baseline_label) + (JITTERY if row.label in marked else "")
        for row in rows
    }


def _heading(results: Results, of: WorkloadResult) -> str:
    """Return a workload's name in several short lines; of a specification, without the sizes that all of them have."""
    name = of.workload.name
    if ":" not in name:
        return name.replace("-", "\n")
    sizes, *rest = name.split(":")
    alike = len({each.workload.sizes for each in results.workloads}) == 1
    return "\n".join(rest if alike else [sizes, *rest]).replace("float", "f")


def _overview_cell(row: Row, baseline_label: str) -> str:
    if not row.timed:
        return short_outcome(row.outcome)
    if row.label == baseline_label:
        return short_seconds_text(row.seconds or 0.0)
    return number_text(row.speed_up.value, 3 if row.speed_up.value >= 0.1 else 2) if row.speed_up else ""


def _cells(row: Row, baseline_label: str) -> list[str]:
    over = row.cores_used is not None and row.cores_used > OVER_SHARE * row.threads
    return [
        row.label,
        seconds_text(row.seconds or 0.0),
        "1" if row.label == baseline_label else number_text(row.speed_up.value) if row.speed_up else "",
        interval_text(row.speed_up) if row.speed_up else "",
        f"{row.percent_of_peak.value:.1f}" if row.percent_of_peak else "",
        ("" if row.cores_used is None else f"{row.cores_used:.2f}") + ("!" if over else ""),
        *_first_calls(row.first_calls),
    ]


def _first_calls(found: Sequence[FirstCall]) -> list[str]:
    """Return what the first calls of fresh processes took, the median of each figure: memory, import, set-up, call."""
    if not found:
        return [""] * 4
    return [
        f"{max(first.peak_rss_bytes for first in found) / 1e6:.0f}",
        seconds_text(median(first.import_seconds for first in found)),
        seconds_text(median(first.setup_seconds for first in found)),
        seconds_text(median(first.first_call_seconds for first in found)),
    ]


def markdown(results: Results) -> str:
    """Return the speed-ups of all workloads as one Markdown table: a line a row, a column a workload."""
    labels = list(dict.fromkeys(row.label for row in results.rows if row.timed))
    marked = {of.workload.name: jittery(results.rows_of(of.workload.name)) for of in results.workloads}
    lines = [
        ["", *(_escaped(of.workload.name) for of in results.workloads)],
        ["---"] + ["---:"] * len(results.workloads),
    ]
    lines += [
        [
            f"`{_escaped(label)}`",
            *(
                _markdown_cell(results.row(of.workload.name, label), of)
                + (f" {JITTERY}" if label in marked[of.workload.name] else "")
                for of in results.workloads
            ),
        ]
        for label in labels
    ]
    lines.append(["peak", *(_markdown_rate(results, of, of.peak_seconds) for of in results.workloads)])
    lines.append(["reference rate", *(_markdown_rate(results, of, of.reference_seconds) for of in results.workloads)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    words = [JITTERY_WORDS] if any(marked.values()) else []
    words += dict.fromkeys(no_peak_text(of.no_peak) for of in results.workloads if of.no_peak)
    return table + "".join(f"\n{line}\n" for line in words)


def _escaped(name: str) -> str:
    """Return a name that does not end a cell of a Markdown table."""
    return name.replace("|", "\\|")


def _markdown_cell(row: Row | None, of: WorkloadResult) -> str:
    """Return a speed-up with half of its interval, or the baseline's time."""
    if row is None or row.seconds is None:
        return "–"
    if row.label == of.workload.baseline_label:
        return f"**{seconds_text(row.seconds)}**"
    return margin_text(row.speed_up) if row.speed_up else seconds_text(row.seconds)


def _markdown_rate(results: Results, of: WorkloadResult, seconds: float | None) -> str:
    speed_up = results.speed_up_at(of, seconds)
    return "–" if speed_up is None else number_text(speed_up)
