"""The tables of speed-ups: on the terminal after a run, and in Markdown."""

from collections.abc import Iterable, Sequence
from statistics import median

from rich.console import Console, RenderableType
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
)
from bench.records import NOT_TIMED_HERE, Note, Result, Results, WorkloadResult

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
    parts: list[RenderableType] = []
    if whole or len(results.workloads) <= FEW:
        for workload_result in results.workloads:
            parts += _workload_parts(results, workload_result, WHOLE if whole else SHORT)
    else:
        parts += _overview_parts(results)
    notes, left_out = (list(map(str, results.notes)), 0) if whole else _short_notes(results)
    parts += [*findings(results), *(f"note: {note}" for note in notes)]
    if left_out:
        parts.append(f"{left_out} more in the results; -v prints all notes")
    return printed(parts, WHOLE_WIDTH if whole else WIDTH, styled, soft_wrap=whole)


def printed(parts: Iterable[RenderableType], width: int, styled: bool = False, soft_wrap: bool = False) -> list[str]:
    """Return what a terminal of that width shows of texts and tables, line by line."""
    console = Console(
        width=width, force_terminal=styled, no_color=not styled, highlight=False, emoji=False, markup=False
    )
    with console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=soft_wrap)
    return [line.rstrip() for line in capture.get().splitlines()]


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]] = ()) -> Table:
    """Return a table without lines between its cells."""
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    return table


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


def _workload_parts(results: Results, workload_result: WorkloadResult, columns: Sequence[str]) -> list[RenderableType]:
    """Return the table of a workload, the fastest last, below what it is, and why implementations have no time."""
    workload = workload_result.workload
    workload_rows = results.rows_of(workload.name)
    shown = [column for column in columns if workload_result.peak or column != PERCENT]
    table = plain_table([])
    for column in shown:
        table.add_column(column, justify="left" if column == "row" else "right", no_wrap=True)
    best, jittery_labels = fastest(results, workload_result), jittery(workload_rows)
    for result in sorted(
        (result for result in workload_rows if result.timed), key=lambda result: -(result.seconds or 0)
    ):
        cells = _cells(result, workload.baseline_label, JITTERY * (result.label in jittery_labels))
        table.add_row(*(cells[column] for column in shown), style="bold" if result in best else None)
    title = f"{workload.name}: {workload.describe()}; speed-ups over {workload.baseline_label}"
    reasons = [
        f" {result.label}: {result.outcome}: {result.reason}"
        for result in workload_rows
        if result.outcome in NOT_TIMED_HERE  # Notes are about the others.
    ]
    return ["; ".join([title, *_rates(workload_result)]), table, *[JITTERY_WORDS] * bool(jittery_labels), *reasons]


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


def _overview_parts(results: Results) -> list[RenderableType]:
    """Return tables of several workloads each."""
    starts = range(0, len(results.workloads), TOGETHER)
    tables = [_overview(results, results.workloads[start : start + TOGETHER]) for start in starts]
    is_jittery = any(jittery(results.rows_of(each.workload.name)) for each in results.workloads)
    return [Text("Speed-up (baseline: time; skipped: reason)", "bold"), *tables, *[JITTERY_WORDS] * is_jittery]


def _overview(results: Results, workload_results: Sequence[WorkloadResult]) -> Table:
    table = Table("", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for workload_result in workload_results:
        heading = workload_result.workload.name.replace("-", "\n").replace(":", "\n").replace("float", "f")
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    columns = [_overview_cells(results, workload_result) for workload_result in workload_results]
    for label in dict.fromkeys(result.label for result in results.rows):
        if any(label in cells for cells in columns):
            table.add_row(Text(label, no_wrap=True), *(cells.get(label, "") for cells in columns))
    return table


def _overview_cells(results: Results, workload_result: WorkloadResult) -> dict[str, Text]:
    """Return by label what the table of several workloads has of one of them."""
    workload = workload_result.workload
    workload_rows = results.rows_of(workload.name)
    jittery_labels, best = jittery(workload_rows), fastest(results, workload_result)
    cells = {}
    for result in workload_rows:
        if not result.timed:
            text = short_outcome(result.outcome)
        elif result.label == workload.baseline_label:
            text = seconds_text(result.seconds or 0.0)
        else:
            text = number_text(result.speed_up.value) if result.speed_up else ""
        text += JITTERY * (result.label in jittery_labels)
        cells[result.label] = Text(text, "bold" if result in best else "")
    return cells


def _cells(result: Result, baseline_label: str, mark: str) -> dict[str, str]:
    """Return the cells of a result by column; `mark` is put after its time."""
    over = result.cores_used is not None and result.cores_used > OVER_SHARE * result.threads
    calls = result.first_calls
    speed_up = number_text(result.speed_up.value) if result.speed_up else ""
    cells = (
        result.label,
        seconds_text(result.seconds or 0.0) + mark,
        "1" if result.label == baseline_label else speed_up,
        interval_text(result.speed_up) if result.speed_up else "",
        f"{result.percent_of_peak.value:.1f}" if result.percent_of_peak else "",
        ("" if result.cores_used is None else f"{result.cores_used:.2f}") + "!" * over,
        f"{max(call.peak_rss_bytes for call in calls) / 1e6:.0f}" if calls else "",
        _median_text([call.import_seconds for call in calls]),
        _median_text([call.setup_seconds for call in calls]),
        _median_text([call.first_call_seconds for call in calls]),
    )
    return dict(zip(WHOLE, cells, strict=True))


def _median_text(seconds: list[float]) -> str:
    return seconds_text(median(seconds)) if seconds else ""


def markdown(results: Results) -> str:
    """Return the speed-ups of all workloads as one Markdown table: a line an implementation, a column a workload."""
    columns = [_markdown_column(results, workload_result) for workload_result in results.workloads]
    labels = dict.fromkeys(result.label for result in results.rows if result.timed)
    table = [
        ["", *(_escaped(workload_result.workload.name) for workload_result in results.workloads)],
        ["---"] + ["---:"] * len(columns),
        *([f"`{_escaped(label)}`", *(column.get(label, "–") for column in columns)] for label in labels),
        ["peak", *(_speed_up_at(results, each, each.peak_seconds) for each in results.workloads)],
        ["reference rate", *(_speed_up_at(results, each, each.reference_seconds) for each in results.workloads)],
    ]
    lines = "".join(f"| {' | '.join(cells)} |\n" for cells in table)
    words = [JITTERY_WORDS] if any(JITTERY in cell for column in columns for cell in column.values()) else []
    words += dict.fromkeys(f"{NO_PEAK}: {each.no_peak}" for each in results.workloads if each.no_peak)
    return lines + "".join(f"\n{sentence}\n" for sentence in words)


def _speed_up_at(results: Results, workload_result: WorkloadResult, seconds: float | None) -> str:
    speed_up = results.speed_up_at(workload_result, seconds)
    return "–" if speed_up is None else number_text(speed_up)


def _markdown_column(results: Results, workload_result: WorkloadResult) -> dict[str, str]:
    """Return the speed-ups on a workload with half of their intervals, and the baseline's time, by label."""
    workload_rows = results.rows_of(workload_result.workload.name)
    jittery_labels = jittery(workload_rows)
    cells = {}
    for result in workload_rows:
        if result.seconds is not None:
            cell = margin_text(result.speed_up) if result.speed_up else seconds_text(result.seconds)
            if result.label == workload_result.workload.baseline_label:
                cell = f"**{seconds_text(result.seconds)}**"
            cells[result.label] = f"{cell} {JITTERY}" if result.label in jittery_labels else cell
    return cells


def _escaped(name: str) -> str:
    """Return a name that does not end a cell of a Markdown table."""
    return name.replace("|", "\\|")
