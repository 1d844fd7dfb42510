"""What pages show of a committed `scaling.json`: what their markers name (bench/report/pages.py)."""

from bench.report import figures
from bench.report.figure_tables import as_block
from bench.report.text import number_text, seconds_text
from bench.scaling.model import FABRICS, MAX_RANKS, allreduce_seconds, efficiency, hiding_batch
from bench.scaling.record import read
from bench.scaling.table import HEADER, cells


def scaling_table(run: str) -> str:
    """Return the table of what was measured."""
    found = read(figures.REFERENCE / run / "scaling.json")
    lines = [f"| {' | '.join(HEADER)} |", "| --- |" + " ---: |" * (len(HEADER) - 1)]
    return as_block(lines + [f"| {' | '.join(cells(point, found.cpus))} |" for point in found.points])


def scaling_errors(run: str) -> str:
    """Return by how much the model misses the measured steps."""
    found = read(figures.REFERENCE / run / "scaling.json")
    told = [f"{one.error_percent:+.0f} % ({one.scaling}, {one.ranks} ranks)" for one in found.predicted]
    return ", ".join(told).replace("-", "−")


def scaling_here(run: str) -> str:
    """Return latency and bandwidth between two ranks of the machine."""
    here = read(figures.REFERENCE / run / "scaling.json").here
    if here is None:
        return figures.NOT_MEASURED
    return f"{seconds_text(here.latency_seconds)} and {number_text(here.bytes_per_second / 1e9)} GB/s"


def scaling_predicted(run: str) -> str:
    """Return the table of what the model predicts for the largest number of ranks."""
    found = read(figures.REFERENCE / run / "scaling.json")
    batch, size = min(point.batch_size for point in found.points), found.buffer_bytes
    lines = [
        f"| fabric | latency | bandwidth | Allreduce | efficiency, {batch} a rank | could hide from |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fabric in FABRICS:
        cells_of = (
            fabric.name,
            seconds_text(fabric.latency_seconds),
            f"{number_text(fabric.bytes_per_second / 1e9)} GB/s",
            seconds_text(allreduce_seconds(fabric, MAX_RANKS, size)),
            f"{efficiency(found.compute, fabric, MAX_RANKS, batch, size):.0%}".replace("%", " %"),
            f"{hiding_batch(found.compute, fabric, MAX_RANKS, size)} a rank",
        )
        lines.append(f"| {' | '.join(cells_of)} |")
    return as_block(lines)
