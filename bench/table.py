"""The table of speed-ups, printed after a run and by `backprop bench`."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COLUMNS = (
    "row",
    "time",
    "speed-up",
    "95 % interval",
    "% of limit",
    "cores",
    "peak MB",
    "import",
    "set-up",
    "1st call",
)


def summary_lines(found: dict[str, Any]) -> list[str]:
    """Return the tables of all workloads and the notes as lines of text."""
    console = Console(width=240, no_color=True, highlight=False, emoji=False, markup=False)
    with console.capture() as capture:
        for workload in found["workloads"]:
            rows = [row for row in found["rows"] if row["workload"] == workload["name"]]
            console.print(_table(workload, [row for row in rows if "seconds" in row]))
            for row in rows:
                if "seconds" not in row:
                    console.print(f" {row['label']}: {row['outcome']}: {row['reason']}", soft_wrap=True)
        for note in found["notes"]:
            console.print(f"note: {note}", soft_wrap=True)
    return [line.rstrip() for line in capture.get().splitlines()]


def seconds_text(seconds: float) -> str:
    """Return a time with three significant digits and its unit: 31.4 µs, 2.05 ms, 1.20 s."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if seconds >= 0.9995 * scale:
            value = seconds / scale
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{seconds:.3g} s"


def _table(workload: dict[str, Any], rows: list[dict[str, Any]]) -> Table:
    title = f"{workload['name']}: {workload['description']}; speed-ups over {workload['baseline_label']}"
    if "limit_seconds" in workload:
        rate = workload["gemm_flops_per_second"] / 1e9
        title += f"; limit {seconds_text(workload['limit_seconds'])} at {rate:.0f} Gflop/s"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "row" else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -row["seconds"]):
        table.add_row(*_cells(row, workload))
    return table


def _cells(row: dict[str, Any], workload: dict[str, Any]) -> list[str]:
    speed_up, percent = row.get("speed_up"), row.get("percent_of_limit")
    over = row["cores_used"] > 1.05 * row["threads"]
    return [
        row["label"],
        seconds_text(row["seconds"]),
        "1" if row["label"] == workload["baseline_label"] else f"{speed_up['value']:.3g}" if speed_up else "",
        f"{speed_up['low']:.3g} to {speed_up['high']:.3g}" if speed_up and speed_up["low"] is not None else "",
        f"{percent['value']:.1f}" if percent else "",
        f"{row['cores_used']:.2f}" + ("!" if over else ""),
        f"{row['peak_rss_bytes'] / 1e6:.0f}",
        seconds_text(row["import_seconds"]),
        seconds_text(row["setup_seconds"]),
        seconds_text(row["first_call_seconds"]),
    ]


def markdown(found: dict[str, Any]) -> str:
    """Return the speed-ups of all workloads as one Markdown table: a line a row, a column a workload."""
    workloads = found["workloads"]
    timed = [row for row in found["rows"] if "seconds" in row]
    by_cell = {(row["workload"], row["label"]): row for row in timed}
    labels = sorted({row["label"] for row in timed}, key=[row["label"] for row in timed].index)
    lines = [["", *(workload["name"] for workload in workloads)], ["---"] + ["---:"] * len(workloads)]
    lines += [
        [f"`{label}`", *(_markdown_cell(by_cell.get((workload["name"], label)), workload) for workload in workloads)]
        for label in labels
    ]
    lines.append(["limit", *(_markdown_limit(by_cell, workload) for workload in workloads)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(row: dict[str, Any] | None, workload: dict[str, Any]) -> str:
    """Return a speed-up with half of its interval, or the baseline's time."""
    if row is None:
        return "–"
    if row["label"] == workload["baseline_label"]:
        return f"**{seconds_text(row['seconds'])}**"
    if "speed_up" not in row:
        return seconds_text(row["seconds"])
    value, low, high = (row["speed_up"][key] for key in ("value", "low", "high"))
    return f"{value:#.3g}" + (f" ± {(high - low) / 2:.1g}" if low is not None else "")


def _markdown_limit(by_cell: dict[tuple[str, str], dict[str, Any]], workload: dict[str, Any]) -> str:
    baseline = by_cell.get((workload["name"], workload["baseline_label"]))
    if baseline is None or "limit_seconds" not in workload:
        return "–"
    return f"{baseline['seconds'] / workload['limit_seconds']:#.3g}"
