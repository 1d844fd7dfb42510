"""The plots of scaling: efficiency and parts of a step as measured, and efficiency to 4,096 ranks as modelled."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from bench.report.drawing import DARK, GREY
from bench.report.text import seconds_text
from bench.scaling.model import FABRICS, MAX_RANKS, efficiency
from bench.scaling.record import Point, Scaling

COLOURS = {"strong": "#0072b2", "weak": "#d55e00"}
MARKERS = {"strong": "o", "weak": "s"}
FABRIC_COLOURS = ("#d55e00", "#0072b2", "#009e73")
PARTS = (("compute", "#0072b2"), ("Allreduce", "#d55e00"), ("waiting", "#bbbbbb"))


def measured(found: Scaling) -> Figure:
    """Return the figure of what was measured: efficiency with intervals beside the ideal, and the parts of a step."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ranks = sorted({point.ranks for point in found.points})
    for kind, colour in COLOURS.items():
        points = [point for point in found.points if point.scaling == kind]
        xs, ys = [point.ranks for point in points], [100 * point.efficiency.value for point in points]
        left.plot(xs, ys, color=colour, marker=MARKERS[kind], markersize=4, label=f"{kind} scaling")
        for point in points:
            low, high = point.efficiency.low, point.efficiency.high
            if low is not None and high is not None:
                left.plot([point.ranks] * 2, [100 * low, 100 * high], color=colour, linewidth=2.5, alpha=0.5)
    left.axhline(100, color=GREY, linestyle=":", label="ideal")
    cpus = found.cpus
    if ranks[-1] > cpus:
        left.axvspan(cpus * 1.05, ranks[-1] * 1.1, color="#f0f0f0", zorder=0, label=f"more ranks than the {cpus} CPUs")
    _rank_axis(left, ranks)
    left.set_title("efficiency")
    left.legend()
    _parts(right, found.points)
    _titles(figure, found, "Scaling over MPI ranks")
    return figure


def _parts(axes: Axes, points: list[Point]) -> None:
    """Draw a bar for each point: compute, Allreduce, and waiting for the slowest rank."""
    names = [
        f"{point.scaling}, {point.ranks} ranks" if point.ranks > 1 else f"{point.scaling}, 1 rank" for point in points
    ]
    left = [0.0] * len(points)
    for part, colour in PARTS:
        widths = [_seconds(point, part) for point in points]
        axes.barh(names, widths, left=left, color=colour, label=part, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds_text(value) if value else "0"))
    axes.set_title("where the time of a step goes")
    axes.legend()


def _seconds(point: Point, part: str) -> float:
    compute, communication = point.compute.value, point.communication.value
    if part == "waiting":
        return max(0.0, point.step.value - compute - communication)
    return compute if part == "compute" else communication


def modelled(found: Scaling) -> Figure:
    """Return the figure of the model: weak efficiency to 4,096 ranks, for three fabrics and three batch sizes."""
    figure = Figure(figsize=(8.8, 4.8), layout="constrained")
    axes = figure.subplots()
    ranks = [1 << power for power in range(MAX_RANKS.bit_length())]
    batch = found.batch
    for fabric, colour in zip(FABRICS, FABRIC_COLOURS, strict=True):
        for times, dashes in ((1, "-"), (4, "--"), (16, ":")):
            ys = [100 * efficiency(found.compute, fabric, r, batch * times, found.buffer_bytes) for r in ranks[1:]]
            label = f"{fabric.name}, {batch * times} a rank"
            axes.plot(ranks, [100.0, *ys], color=colour, linestyle=dashes, linewidth=1.3, label=label)
    for point in found.points:
        if point.scaling == "weak" and 1 < point.ranks <= found.cpus:
            axes.plot(point.ranks, 100 * point.efficiency.value, "kX", markersize=5)
            axes.annotate(
                "measured here", (point.ranks, 100 * point.efficiency.value), (6, 0), textcoords="offset points"
            )
    axes.axhline(100, color=GREY, linestyle=":")
    _rank_axis(axes, ranks)
    axes.legend(fontsize=7, ncols=2, loc="lower left")
    errors = ", ".join(f"{one.ranks} ranks {one.scaling} {one.error_percent:+.0f} %" for one in found.predicted)
    _titles(figure, found, "Predicted weak efficiency", f"the model's error here: {errors}" if errors else "")
    return figure


def _rank_axis(axes: Axes, ranks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [f"{rank:,}" for rank in ranks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 115)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("ranks")


def _titles(figure: Figure, found: Scaling, title: str, more: str = "") -> None:
    network = "-".join(map(str, found.sizes))
    words = [found.implementation, network, found.dtype, f"{found.cpus} CPUs", found.date[:10], more]
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    figure.supxlabel(" · ".join(filter(None, words)), x=0.01, ha="left", fontsize=7.5, color=DARK)
