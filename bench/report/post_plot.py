"""The plot for readers of the 2019 post: the book's step, seven ways, with the post's claims beside today's."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.records import Results
from bench.report.drawing import CAPTION_SIZE, DARK, caption, mark_speed_ups
from bench.report.palette import look
from bench.report.text import estimate_text, number_text, seconds_text

WORKLOAD = "book"
WAYS = {  # row: what it is, and how many times as fast as per-example Python the post had it
    "per_example": ("Python, one example at a time", 1.0),
    "rust_per_example": ("Rust, one example at a time, ndarray's products", None),
    "rust_per_example_blas": ("Rust, one example at a time, BLAS", 2.0),
    "batched_2d": ("Python, whole mini-batches", 4.0),
    "in_place": ("Python, whole mini-batches, nothing allocated", None),
    "numba": ("the same, compiled by Numba", None),
    "rust_fused": ("Rust, whole mini-batches, own kernels", None),
}
CLAIM = "#7a3b8f"


def has_ways(results: Results) -> bool:
    """Return whether the results hold all that the plot shows."""
    rows = [results.row(WORKLOAD, label) for label in WAYS]
    return all(row is not None and row.timed for row in rows)


def seven_ways(results: Results) -> Figure:
    """Return the figure: speed-ups over per-example Python, today's with intervals, and what the post claimed."""
    figure = Figure(figsize=(8.8, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.axvline(1.0, color=DARK, linewidth=0.8, zorder=1)
    for position, (label, (_, claim)) in enumerate(WAYS.items()):
        row = results.row(WORKLOAD, label)
        assert row is not None
        value = row.speed_up.value if row.speed_up else 1.0
        style = look(label)
        axes.plot([1.0, value], [position, position], color=style.colour, linewidth=1.2, alpha=0.55, zorder=2)
        axes.plot(value, position, style.marker, color=style.colour, markersize=7, markeredgecolor="white", zorder=4)
        text = f"{estimate_text(row.speed_up)}" if row.speed_up else seconds_text(row.seconds or 0.0)
        if row.speed_up and row.speed_up.low is not None and row.speed_up.high is not None:
            interval = [row.speed_up.low, row.speed_up.high]
            axes.plot(interval, [position, position], color="black", linewidth=1.5, solid_capstyle="butt", zorder=5)
        if claim is not None:
            axes.plot(claim, position, "D", markersize=9, markerfacecolor="none", markeredgecolor=CLAIM, zorder=6)
            text += f"   2019: about {number_text(claim, 1)}" if claim != 1.0 else ""
        axes.annotate(text, (max(value, claim or 0.0), position), (9, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(WAYS)), [words for words, _ in WAYS.values()])
    axes.set_ylim(len(WAYS) - 0.5, -0.5)
    axes.set_xlim(0.9, 120)
    axes.tick_params(axis="y", length=0)
    mark_speed_ups(axes)
    title = "The book's step, seven ways: speed-up over Python's loop"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    handles = [
        Line2D([], [], color=DARK, marker="o", linestyle="", markersize=6, label="today, with its 95 % interval"),
        Line2D(
            [], [], color=CLAIM, marker="D", linestyle="", markerfacecolor="none", markersize=7, label="the 2019 post"
        ),
    ]
    legend = figure.legend(handles=handles, loc="outside lower left", ncols=2, title=caption(results, figure))
    legend.set_alignment("left")
    legend.get_title().set(fontsize=CAPTION_SIZE, color=DARK)
    return figure
