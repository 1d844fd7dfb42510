"""The plots of a run, made from its results alone, the same bytes every time.

overview     three workloads, a small, a medium and a large network: speed-ups with their intervals
speedups     the same for all workloads
seven-ways   the book's step in the implementations that the 2019 post is about, and its claims
peak         per cent of the peak, where it was measured: a line an implementation, a column a workload
sweep-NAME   seconds against what the sweep varies, a curve an implementation; of `strong`, what threads gain
"""

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from bench.output.plots.curves import sweep
from bench.output.plots.dots import peak, seven_ways, speedups
from bench.output.plots.drawing import save, style
from bench.records import Results

OVERVIEW = ("book", "deep", "large")  # a small, a medium and a large network


def draw(results: Results, folder: Path, file_format: str = "png") -> list[Path]:
    """Draw all plots that the results hold into a folder; return the paths. Raises UserError if it can't be written."""
    with style():
        return [save(figure, folder / f"{name}.{file_format}") for name, figure in _figures(results) if figure]


def _figures(results: Results) -> Iterator[tuple[str, Figure | None]]:
    default = [each for each in results.workloads if not each.workload.sweep]
    names = {each.workload.name for each in default}
    rows = [row for row in results.rows if row.workload in names and not row.is_control]
    if any(row.speed_up for row in rows):
        overview = [each for each in default if each.workload.name in OVERVIEW]
        if len(overview) == len(OVERVIEW):
            yield "overview", speedups(results, overview)
        yield "speedups", speedups(results, default)
        yield "seven-ways", seven_ways(results)
    if any(row.percent_of_peak for row in rows):
        yield "peak", peak(results, default)
    for name in sorted({each.workload.sweep for each in results.workloads} - {""}):
        yield f"sweep-{name}", sweep(results, name, [each for each in results.workloads if each.workload.sweep == name])
