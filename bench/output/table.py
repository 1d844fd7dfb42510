"""The tables of speed-ups: on the terminal after a run, and in Markdown."""

from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.analysis.notes import NO_PEAK, OVER_SHARE, jittery
from bench.output.findings import fastest, findings
from bench.output.text import (
    flops_text,
    interval_text,
    margin_text,
    number_text,
    seconds_text,
    short_outcome,
    short_seconds_text,
)
from bench.records import NOT_TIMED_HERE, Note, Results, Row, WorkloadResult

PERCENT = "% of peak"
SHORT = ("row", "time", "speed-up", "95 % interval", PERCENT, "cores")
WHOLE = (*SHORT, "peak MB", "import", "set-up", "1st call")
WIDTH, WHOLE_WIDTH = 80, 240  # characters
FEW = 3  # workloads that get a table each; more of them share tables …
TOGETHER = 6  # … of so many workloads
NOTES = 6  # that the short summary shows
JITTERY = "~"  # marks a result whose own jitter the lower quartile forgives
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
            for workload_result in results.workloads:
                _print_workload(console, results, workload_result, WHOLE if whole else SHORT)
        else:
            _print_overview(console, results)
        for sentence in findings(results):
            console.print(sentence)
        notes, left_out = (list(map(str, results.notes)), 0) if whole else _short_notes(results)
        for note in notes:
            console.print(f"note: {note}", soft_wrap=whole)
        if left_out:
            console.print(f"{left_out} more in the results; -v prints all notes")
    return [line.rstrip() for line in capture.get().splitlines()]


def _short_notes(results: Results) -> tuple[list[str], int]:
    """Return the notes of the short summary, and how many others there are: all failures, then the first few others.

    An implementation that fails for one reason on several workloads is named once, with the first of them.
    """
    failures: dict[tuple[str, str], list[Note]] = {}
    for note in results.notes:
        if note.kind == "failure":
            failures.setdefault((note.implementation, note.text), []).append(note)
    lines = [f"{first}{f' (and on {len(more)} more)' if more else ''}" for first, *more in failures.values()]
    others = [str(note) for note in results.notes if note.kind != "failure"]
    return lines + others[:NOTES], len(others[NOTES:])


def _print_workload(
    console: Console, results: Results, workload_result: WorkloadResult, columns: tuple[str, ...]
) -> None:
    """Print the table of one workload, the fastest last, and why implementations have no time."""
    workload = workload_result.workload
    rows = results.rows_of(workload.name)
    shown = [number for number, column in enumerate(columns) if workload_result.peak or column != PERCENT]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number in shown:
        table.add_column(columns[number], justify="right" if number else "left", no_wrap=True)
    best, marked = fastest(results, workload_result), jittery(rows)
    for row in sorted((row for row in rows if row.timed), key=lambda row: -(row.seconds or 0.0)):
        cells = _cells(row, workload.baseline_label)
        cells[1] += JITTERY if row.label in marked else ""
        table.add_row(*(cells[number] for number in shown), style="bold" if row in best else None)
    title = f"{workload.name}: {workload.describe()}; speed-ups over {workload.baseline_label}"
    console.print("; ".join([title, *_rates(workload_result)]))
    console.print(table)
    if marked:
        console.print(JITTERY_WORDS)
    for row in rows:
        if row.outcome in NOT_TIMED_HERE:  # notes tell of the others
            console.print(f" {row.label}: {row.outcome}: {row.reason}", soft_wrap=columns is WHOLE)


def _rates(workload_result: WorkloadResult) -> list[str]:
    """Return what times are measured against: peak 16.2 µs at 58.5 Gflop/s, NumPy's product reaches 88 %."""
    peak, reference, percent = workload_result.peak, workload_result.reference, workload_result.reference_percent
    words = []
    if peak and peak.flops_per_second and workload_result.peak_seconds:
        words.append(f"peak {seconds_text(workload_result.peak_seconds)} at {flops_text(peak.flops_per_second)}/s")
    if percent is not None:
        words.append(f"NumPy's product reaches {percent:.0f} %")
    elif reference and reference.flops_per_second:
        words.append(f"NumPy's product reaches {flops_text(reference.flops_per_second)}/s")
    return words


def _print_overview(console: Console, results: Results) -> None:
    """Print tables of several workloads each."""
    console.print("Speed-up (baseline: time; skipped: reason)", style="bold")
    for start in range(0, len(results.workloads), TOGETHER):
        console.print(_overview(results, results.workloads[start : start + TOGETHER]))
    if any(jittery(results.rows_of(each.workload.name)) for each in results.workloads):
        console.print(JITTERY_WORDS)


def _overview(results: Results, workload_results: list[WorkloadResult]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    columns = [_overview_cells(results, each) for each in workload_results]
    for each in workload_results:
        heading = each.workload.name.replace("-", "\n").replace(":", "\n").replace("float", "f")
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for label in dict.fromkeys(row.label for row in results.rows):
        if any(label in cells for cells in columns):
            table.add_row(label, *(cells.get(label, "") for cells in columns))
    return table


def _overview_cells(results: Results, workload_result: WorkloadResult) -> dict[str, Text]:
    """Return by label what the table of several workloads has of one of them."""
    rows = results.rows_of(workload_result.workload.name)
    marked, best = jittery(rows), fastest(results, workload_result)
    cells = {}
    for row in rows:
        text = _overview_text(row, workload_result.workload.baseline_label) + JITTERY * (row.label in marked)
        cells[row.label] = Text(text, "bold" if row in best else "")
    return cells


def _overview_text(row: Row, baseline_label: str) -> str:
    if not row.timed:
        return short_outcome(row.outcome)
    if row.label == baseline_label:
        return short_seconds_text(row.seconds or 0.0)
    return number_text(row.speed_up.value, 3 if row.speed_up.value >= 0.1 else 2) if row.speed_up else ""


def _cells(row: Row, baseline_label: str) -> list[str]:
    over = row.cores_used is not None and row.cores_used > OVER_SHARE * row.threads
    calls = row.first_calls
    return [
        row.label,
        seconds_text(row.seconds or 0.0),
        "1" if row.label == baseline_label else number_text(row.speed_up.value) if row.speed_up else "",
        interval_text(row.speed_up) if row.speed_up else "",
        f"{row.percent_of_peak.value:.1f}" if row.percent_of_peak else "",
        ("" if row.cores_used is None else f"{row.cores_used:.2f}") + ("!" if over else ""),
        f"{max(call.peak_rss_bytes for call in calls) / 1e6:.0f}" if calls else "",
        _median_text([call.import_seconds for call in calls]),
        _median_text([call.setup_seconds for call in calls]),
        _median_text([call.first_call_seconds for call in calls]),
    ]


def _median_text(seconds: list[float]) -> str:
    return seconds_text(median(seconds)) if seconds else ""


def markdown(results: Results) -> str:
    """Return the speed-ups of all workloads as one Markdown table: a line an implementation, a column a workload."""
    columns = [_markdown_column(results, each) for each in results.workloads]
    labels = dict.fromkeys(row.label for row in results.rows if row.timed)
    lines = [
        ["", *(_escaped(each.workload.name) for each in results.workloads)],
        ["---"] + ["---:"] * len(columns),
        *([f"`{_escaped(label)}`", *(column.get(label, "–") for column in columns)] for label in labels),
    ]
    for name, seconds in (
        ("peak", [each.peak_seconds for each in results.workloads]),
        ("reference rate", [each.reference_seconds for each in results.workloads]),
    ):
        pairs = zip(results.workloads, seconds, strict=True)
        speed_ups = [results.speed_up_at(workload_result, each) for workload_result, each in pairs]
        lines.append([name, *("–" if each is None else number_text(each) for each in speed_ups)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    words = [JITTERY_WORDS] if any(JITTERY in cell for column in columns for cell in column.values()) else []
    words += dict.fromkeys(f"{NO_PEAK}: {each.no_peak}" for each in results.workloads if each.no_peak)
    return table + "".join(f"\n{line}\n" for line in words)


def _markdown_column(results: Results, workload_result: WorkloadResult) -> dict[str, str]:
    """Return the speed-ups on a workload with half of their intervals, and the baseline's time, by label."""
    rows = results.rows_of(workload_result.workload.name)
    marked = jittery(rows)
    cells = {}
    for row in rows:
        if row.seconds is None:
            continue
        cell = margin_text(row.speed_up) if row.speed_up else seconds_text(row.seconds)
        if row.label == workload_result.workload.baseline_label:
            cell = f"**{seconds_text(row.seconds)}**"
        cells[row.label] = f"{cell} {JITTERY}" if row.label in marked else cell
    return cells


def _escaped(name: str) -> str:
    """Return a name that does not end a cell of a Markdown table."""
    return name.replace("|", "\\|")
