"""The plots, made from results alone, the same bytes every time: SVG and PNG.

overview     three workloads, a small, a medium and a large network: points of the speed-up with its interval
speedups     the same for all workloads
seven-ways   the book's step in the rows that the 2019 post is about, and its claims
peak         per cent of the peak, where it was measured: a line a row, a column a workload
sweep-NAME   seconds against what the sweep varies, a curve a row; of `strong`, what threads gain
"""

from pathlib import Path

from bench.records import Results
from bench.report.drawing import rows_to_show, save, style
from bench.report.peak_plot import peak
from bench.report.post_plot import has_ways, seven_ways
from bench.report.speedup_plot import speedups
from bench.report.strong_plot import strong
from bench.report.sweep_plot import DRAWN, has_place, sweep

OVERVIEW = ("book", "deep", "large")  # a small, a medium and a large network


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw all plots that the results hold into a folder; return the paths. Raises UserError if it can't be written."""
    default = [of for of in results.workloads if not of.workload.sweep]
    overview = [of for of in default if of.workload.name in OVERVIEW]
    sweeps = sorted({of.workload.sweep for of in results.workloads} & DRAWN)  # not those of a version to come
    paths = []
    with style():
        if any(row.speed_up for of in default for row in rows_to_show(results, of)):
            if len(overview) == len(OVERVIEW):
                paths += save(speedups(results, overview), folder / "overview")
            paths += save(speedups(results, default), folder / "speedups")
            if has_ways(results):
                paths += save(seven_ways(results), folder / "seven-ways")
        if any(row.percent_of_peak for of in default for row in rows_to_show(results, of)):
            paths += save(peak(results, default), folder / "peak")
        for name in sweeps:
            of_sweep = [of for of in results.workloads if of.workload.sweep == name and has_place(of.workload)]
            if not of_sweep:
                continue
            figure = strong(results, of_sweep) if name == "strong" else sweep(results, name, of_sweep)
            if figure is not None:
                paths += save(figure, folder / f"sweep-{name}")
    return paths
