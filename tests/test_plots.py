"""The plots and the tables by what a reader sees, not by pixels."""

import functools
import itertools
import math
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Generator
from pathlib import Path

import matplotlib
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_results import BOOK, PEAK_SECONDS, made_up_results, processes, row, workload_result
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.typing import ColorType

from bench.records import CONTROL, Estimate, Results, Row, Sample, Workload
from bench.report.drawing import GREY, STYLE, save
from bench.report.findings import findings
from bench.report.palette import MARKERS, look
from bench.report.peak_plot import peak
from bench.report.plots import draw
from bench.report.speedup_plot import SLOWEST, speedups
from bench.report.strong_plot import break_even, gains, strong
from bench.report.sweep_plot import sweep
from bench.report.table import markdown, summary_lines
from bench.report.text import estimate_text, flops_text, interval_text, margin_text, number_text, seconds_text
from bench.results.notes import failure_text

LARGE = Workload("large", (784, 512, 512, 10), 256, threads=2, baseline="batched_2d")
HOSTILE = ("$\\frac{$", "bell\aand\x1b[31mred", "批处理", "a|b", "two\nlines", "<&>\"'", "x" * 300, "")


@pytest.fixture
def results() -> Results:
    return made_up_results()


@pytest.fixture(autouse=True)
def in_our_style() -> Generator[None]:
    with matplotlib.rc_context(STYLE):
        yield


def add(results: Results, workload: Workload, *rows: Row) -> None:
    """Add a workload with its rows."""
    results.workloads.append(workload_result(workload))
    results.rows += rows


def points(axes: Axes) -> dict[int, Line2D]:
    """Return the points of a panel of speed-ups by the line that they are on."""
    found = [line for line in axes.lines if line.get_marker() != "None"]
    by_line = {round(place(line)[1]): line for line in found}
    assert len(by_line) == len(found)
    return by_line


def place(point: Line2D) -> tuple[float, float]:
    """Return x and y of a line that is a single point."""
    (x,), (y,) = (np.asarray(data).tolist() for data in point.get_data())
    return x, y


def segments(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Return all lines of a panel without a marker, alone or of a collection: their x, their y."""
    alone = [np.asarray(line.get_xydata()) for line in axes.lines if line.get_marker() == "None"]
    collections = [each for each in axes.collections if isinstance(each, LineCollection)]
    together = [np.asarray(segment) for each in collections for segment in each.get_segments()]
    return [(ends[:, 0].tolist(), ends[:, 1].tolist()) for ends in [*alone, *together]]


def labels_of(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def numbers(axes: Axes) -> dict[int, Text]:
    """Return what is written beside the points, by line."""
    return {round(text.get_position()[1]): text for text in axes.texts if text.get_bbox_patch()}


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


# --- Speed-ups ---------------------------------------------------------------------------------------------------


def test_speedups_are_points_on_a_logarithmic_scale(results: Results) -> None:
    axes = speedups(results, results.workloads).axes[0]
    assert axes.get_xscale() == "log"
    assert labels_of(axes) == ["per_example", "batched_2d", "in_place", "torch"]  # in the ladder's order; no control
    assert axes.yaxis_inverted()  # the first one at the top
    found = points(axes)
    assert {line: place(point)[0] for line, point in found.items()} == {0: 1.0, 1: 8.0, 2: 10.0}
    for line, point in found.items():
        style = look(labels_of(axes)[line])
        assert point.get_marker() == style.marker
        assert same_color(point.get_color(), style.colour)
    assert axes.get_title(loc="left") == "book\n"
    assert "784-30-10, batch 10, float64, 1 thread, step" in [text.get_text() for text in axes.texts]


def test_intervals_baseline_rates_and_control_are_drawn(results: Results) -> None:
    axes = speedups(results, results.workloads).axes[0]
    found = segments(axes)
    for xs, ys in (
        ([7.84, 8.16], [1, 1]),  # intervals
        ([9.8, 10.2], [2, 2]),
        ([1.0, 8.0], [1, 1]),  # from the baseline's line to the points
        ([1.0, 10.0], [2, 2]),
        ([1.0, 1.0], [0, 1]),  # the baseline's line, from the bottom to the top of the panel
        ([20.0, 20.0], [0, 1]),  # the peak's: 400 µs / 20 µs
        ([16.0, 16.0], [0, 1]),  # the reference rate's: 80 % of it
    ):
        assert any(x == pytest.approx(xs) and y == ys for x, y in found), xs
    (band,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert [band.get_x(), band.get_x() + band.get_width()] == pytest.approx([0.995 * 0.98, 0.995 * 1.02])
    assert (band.get_y(), band.get_height()) == (0, 1)  # of the whole panel


def test_numbers_are_beside_the_points(results: Results) -> None:
    found = numbers(speedups(results, results.workloads).axes[0])
    assert {line: text.get_text() for line, text in found.items()} == {
        0: "baseline, 400 µs",
        1: "8.00×",
        2: "10.0×",
        3: "unavailable",
    }
    assert {line for line, text in found.items() if same_color(text.get_color(), GREY)} == {3}


OUTCOMES = {  # as they are, and as they stand in a table of all workloads
    "wrong": "wrong",
    "wrong after 501 calls": "wrong",
    "unfinished": "unfin.",
    "implausible": "implaus.",
    "crashed": "crash",
    "timed out": "hung",
    "unavailable": "–",
    "left out": "slow",
    "interrupted": "–",
    "struck by lightning": "struck b",  # of a later edition
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_row_that_was_not_timed_shows_its_outcome(results: Results, outcome: str) -> None:
    results.rows[3] = Row("book", "in_place", "in_place", 1, outcome, "for a reason that takes many words " * 9)
    figure = speedups(results, results.workloads)
    axes = figure.axes[0]
    assert labels_of(axes)[2] == "in_place"
    assert numbers(axes)[2].get_text() == outcome
    assert same_color(numbers(axes)[2].get_color(), GREY)
    assert 2 not in points(axes)
    figure.draw_without_rendering()
    text, panel = numbers(axes)[2].get_window_extent(), axes.get_window_extent()
    assert panel.x0 <= text.x0 < text.x1 <= panel.x1


@pytest.mark.parametrize(("outcome", "short"), OUTCOMES.items())
def test_an_outcome_fits_into_a_cell(results: Results, outcome: str, short: str) -> None:
    results.rows[3] = Row("book", "in_place", "in_place", 1, outcome, "for a reason")
    for name in ("deep", "large", "other"):
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    lines = summary_lines(results)  # one table of all workloads
    assert next(line for line in lines if line.startswith("in_place")).split("  ", 1)[1].strip() == short
    figure = peak(results, results.workloads)
    figure.draw_without_rendering()
    (text,) = (text for text in figure.axes[0].texts if text.get_position() == (0, 2))
    assert text.get_text() == short
    box, axes = text.get_window_extent(), figure.axes[0]
    assert axes.transData.transform((-0.5, 2))[0] < box.x0 < box.x1 < axes.transData.transform((0.5, 2))[0]


def test_a_row_much_slower_than_the_baseline_is_an_arrow_at_the_edge(results: Results) -> None:
    results.rows[2] = row("pure_python", 2e-2, 0.0196)
    results.rows[3] = row("in_place", 5e-4, 0.8)
    axes = speedups(results, results.workloads).axes[0]
    assert labels_of(axes)[:2] == ["pure_python", "per_example"]
    arrow = points(axes)[0]
    assert (arrow.get_marker(), place(arrow)) == ("<", (SLOWEST, 0))
    assert ([1.0, SLOWEST], [0, 0]) in segments(axes)
    assert axes.get_xlim()[0] == SLOWEST == 0.45
    assert numbers(axes)[0].get_text() == "0.0196×"
    slower = points(axes)[2]
    assert (slower.get_marker(), place(slower)) == (look("in_place").marker, (0.8, 2))


def test_all_panels_have_the_same_lines_and_scale(results: Results) -> None:
    add(
        results,
        LARGE,
        row("batched_2d@1", 1.9e-2, workload="large"),
        row(CONTROL, 1.9e-2, 1.0, workload="large"),
        row("numba", 1e-2, 1.9, workload="large"),
        row("batched_2d", 1e-2, 2.0, workload="large"),
    )
    book, large = panels(speedups(results, results.workloads))
    assert labels_of(book) == ["per_example", "batched_2d", "in_place", "numba", "torch"]
    assert book.get_xlim() == large.get_xlim()
    assert book.get_ylim() == large.get_ylim()
    assert book.get_xlim()[1] > 19e-3 / PEAK_SECONDS  # the highest peak of all
    assert set(points(large)) == {1, 3}
    assert large.get_title(loc="right") == "1× is batched_2d@1, 19.0 ms\n"
    assert book.get_title(loc="right") == ""


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 3)), (9, (3, 3))])
def test_there_is_a_panel_for_each_workload(results: Results, count: int, shape: tuple[int, int]) -> None:
    for number in range(count - 1):
        name = f"w{number}"
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    figure = speedups(results, results.workloads)
    assert [axes.get_title(loc="left").strip() for axes in panels(figure)] == [
        of.workload.name for of in results.workloads
    ]
    specs = {axes.get_subplotspec() for axes in figure.axes}
    assert {spec.get_gridspec().get_geometry() for spec in specs if spec} == {shape}


def test_the_legend_names_families_whiskers_band_and_rates(results: Results) -> None:
    results.rows.append(row("rust_fused", 2e-5, 20.0))
    results.rows.append(row("mine", 2e-5, 20.0))
    (legend,) = speedups(results, results.workloads).legends
    handles = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    assert list(handles) == [
        "Python and NumPy",
        "Rust",
        "framework",
        "other",
        "95 % interval",
        "noise floor: the control's interval",
        "peak: multiply-adds in registers",
        "reference rate: NumPy's large product",
    ]
    for family in ("Python and NumPy", "Rust", "framework", "other"):
        handle = handles[family]
        assert isinstance(handle, Line2D)
        assert handle.get_marker() == MARKERS[family]
    caption = legend.get_title().get_text()
    for words in ("Abacus 3000", "2 CPUs", "Python 3.11.7", "NumPy 2.4.6", "5 processes per row", "2026-01-31"):
        assert words in caption


def test_a_caption_is_no_wider_than_its_figure(results: Results) -> None:
    results.machine.numpy_blas = "scipy-openblas 0.3.34.237.2"
    for figure in (speedups(results, results.workloads), peak(results, results.workloads)):
        text = figure.legends[0].get_title() if figure.legends else figure._supxlabel  # type: ignore[attr-defined]
        figure.draw_without_rendering()
        assert text.get_window_extent().x1 <= figure.bbox.x1
        assert text.get_text().count("scipy-openblas 0.3.34.237.2") == 1
        assert "·\n" not in text.get_text()


def test_without_control_interval_or_rates_a_panel_is_drawn(results: Results) -> None:
    """One generation gives no interval; the worker of a rate may have died."""
    results.workloads[0].peak = results.workloads[0].reference = None
    for of_row in results.rows:
        if of_row.speed_up:
            of_row.speed_up = Estimate(of_row.speed_up.value)
    figure = speedups(results, results.workloads)
    assert not [text for text in figure.legends[0].get_texts() if "peak" in text.get_text()]
    axes = figure.axes[0]
    assert not [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert set(points(axes)) == {0, 1, 2}
    assert numbers(axes)[2].get_text() == "10.0×"


# --- The peak ----------------------------------------------------------------------------------------------------


def test_the_peak_is_a_heat_map_of_rows_by_workloads(results: Results) -> None:
    results.workloads.insert(0, workload_result(LARGE))  # more operations: the last column, whatever the order
    results.rows += [row("batched_2d@1", 1.9e-2, workload="large"), row("in_place", 2.2e-5, 8.0, workload="large")]
    results.rows[3].percent_of_peak = Estimate(50.2, 49.0, 51.4)
    axes = peak(results, results.workloads).axes[0]
    names = ["per_example", "batched_2d", "in_place", "torch", "NumPy's large product"]
    assert labels_of(axes) == names  # no control, no second baseline
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["book\n959 kflop", f"large\n{flops_text(LARGE.flops(256))}"]
    (image,) = axes.images
    of_rows = [[5.0, math.nan], [40.0, math.nan], [50.2, 100 * 2e-5 / 2.2e-5], [math.nan, math.nan]]
    shown = np.ma.masked_invalid(np.asarray(image.get_array(), float))
    np.testing.assert_allclose(shown.filled(math.nan), [*of_rows, [80.0, 80.0]])
    assert (image.norm.vmin, image.norm.vmax) == (0, 100)
    cells = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert cells[0, 0] == "5.0"
    assert cells[0, 1] == "40"
    assert cells[0, 2] == "50"
    assert cells[1, 2] == "91"
    assert {place for place, text in cells.items() if text == "–"} == {(1, 0), (1, 1), (0, 3), (1, 3)}
    assert cells[0, 4] == cells[1, 4] == "80"
    assert len(cells) == 10


def luminance(colour: ColorType) -> float:
    """Return the relative luminance of the Web Content Accessibility Guidelines, 0 for black to 1 for white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_numbers_can_be_read_on_their_colours(results: Results) -> None:
    """From 0 to 100 per cent, with the contrast of 3 to 1 that large text needs at least."""
    results.rows = [row(f"row_{percent}", 1e-3, percent_of_peak=Estimate(percent)) for percent in range(101)]
    axes = peak(results, results.workloads).axes[0]
    (image,) = axes.images
    assert len(axes.texts) == 101 + 1  # the last one is the reference rate
    for percent, text in enumerate(axes.texts[:101]):
        (cell,) = np.asarray(image.cmap(np.asarray(image.norm(np.array([float(percent)])))))  # red, green, blue, alpha
        light, dark = sorted((luminance(tuple(cell)), luminance(text.get_color())), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 3, percent


# --- Sweeps ------------------------------------------------------------------------------------------------------


def swept(results: Results, sweep: str, *workloads: Workload) -> None:
    """Put workloads of a sweep in the place of the one that is there, without rows."""
    results.workloads = [workload_result(msgspec.structs.replace(workload, sweep=sweep)) for workload in workloads]
    results.rows = []


def curve(axes: Axes, label: str) -> Line2D:
    (found,) = (line for line in axes.lines if line.get_label() == label)
    return found


def test_a_sweep_is_log_log_time_per_example(results: Results) -> None:
    swept(results, "batch", BOOK, msgspec.structs.replace(BOOK, name="b100", batch_size=100))
    results.rows = [row("in_place", 4e-5, 10.0), row("in_place", 2e-4, 20.0, workload="b100")]
    axes = sweep(results, "batch", results.workloads).axes[0]
    line = curve(axes, "in_place")
    assert np.asarray(line.get_xdata()).tolist() == [10, 100]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([4e-6, 2e-6])
    assert (line.get_marker(), line.get_color()) == (look("in_place").marker, look("in_place").colour)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert np.asarray(curve(axes, "peak").get_ydata()).tolist() == pytest.approx([2e-6, 2e-7])
    assert np.asarray(curve(axes, "NumPy's large product").get_ydata()).tolist() == pytest.approx([2.5e-6, 2.5e-7])
    names = ["in_place", "peak", "NumPy's large product"]  # at the ends of the curves
    assert [text.get_text() for text in axes.texts] == names
    assert axes.get_xlabel() == "examples in a mini-batch"
    assert axes.get_ylabel() == "time per example"


def test_a_curve_has_its_intervals(results: Results) -> None:
    swept(results, "batch", BOOK)
    results.rows = [row("in_place", 4e-5)]
    for generation, process in enumerate(results.rows[0].processes):
        process.samples = processes(4e-5 * (1 + generation / 100))[0].samples
    axes = sweep(results, "batch", results.workloads).axes[0]
    (interval,) = (y for x, y in segments(axes) if x == [10, 10])
    assert 0.96 * 4e-6 < interval[0] < 4e-6 < interval[1] < 1.04 * 4e-6  # around the time that the table has


def test_a_sweep_has_a_panel_for_each_dtype_and_number_of_threads(results: Results) -> None:
    single = msgspec.structs.replace(BOOK, name="single", dtype="float32", threads=2)
    hundred = msgspec.structs.replace(single, name="b100", batch_size=100)
    swept(results, "batch-grid", BOOK, single, hundred)
    results.rows = [
        row("in_place", 4e-5),
        *(row("in_place", 2e-4, 20.0, workload=name) for name in ("single", "b100")),
        row("per_example@1", 4e-4, workload="single"),
    ]
    figure = sweep(results, "batch-grid", results.workloads)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["float64, 1 thread", "float32, 2 threads"]
    assert np.asarray(curve(figure.axes[1], "in_place").get_xdata()).tolist() == [10, 100]
    assert np.asarray(curve(figure.axes[0], "in_place").get_xdata()).tolist() == [10]
    assert not [line for axes in figure.axes for line in axes.lines if "@" in str(line.get_label())]


def test_a_sweep_of_threads_shows_the_ideal(results: Results) -> None:
    swept(results, "threads", *(msgspec.structs.replace(BOOK, name=f"t{n}", threads=n) for n in (1, 2, 4)))
    results.rows = [row("multithreaded", seconds, workload=f"t{n}") for n, seconds in ((1, 4e-4), (2, 3e-4), (4, 2e-4))]
    axes = sweep(results, "threads", results.workloads).axes[0]
    ideal = curve(axes, "multithreaded, if it scaled ideally")
    assert np.asarray(ideal.get_ydata()).tolist() == pytest.approx([4e-4, 2e-4, 1e-4])
    assert np.asarray(curve(axes, "multithreaded").get_ydata()).tolist() == pytest.approx([4e-4, 3e-4, 2e-4])
    assert axes.get_ylabel() == "time per step"


def test_the_other_sweeps_vary_what_they_say(results: Results) -> None:
    for name, sizes, xs in (
        ("width", ((784, 8, 10), (784, 64, 10)), [8, 64]),
        ("width-grid", ((784, 8, 10), (784, 64, 10)), [8, 64]),
        ("depth", ((784, 100, 10), (784, 100, 100, 10)), [1, 2]),
    ):
        swept(results, name, *(Workload(f"w{len(of)}-{of[1]}", of, 10) for of in sizes))
        results.rows = [row("in_place", 4e-5, workload=of.workload.name) for of in results.workloads]
        axes = sweep(results, name, results.workloads).axes[0]
        assert np.asarray(curve(axes, "in_place").get_xdata()).tolist() == xs


def test_a_sweep_of_epochs_is_drawn_against_their_examples(results: Results) -> None:
    of = [
        msgspec.structs.replace(BOOK, name=f"e{count}", timed="epoch", epoch_examples=count) for count in (150, 50_000)
    ]
    swept(results, "data", *of)
    results.rows = [row("in_place", 4e-3, workload=each.name) for each in of]
    axes = sweep(results, "data", results.workloads).axes[0]
    assert np.asarray(curve(axes, "in_place").get_ydata()).tolist() == pytest.approx([4e-3 / 150, 4e-3 / 50_000])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["150", "50,000"]


def strong_results(results: Results, gains_by_batch: dict[int, float]) -> None:
    """Put a sweep `strong` of two threads in the place of what is there: a row that gains so much, by batch size."""
    of = [
        msgspec.structs.replace(BOOK, name=f"{size}:{threads}", batch_size=size, threads=threads)
        for threads in (1, 2)
        for size in gains_by_batch
    ]
    swept(results, "strong", *of)
    for each in of:
        gain = gains_by_batch[each.batch_size] if each.threads == 2 else 1.0
        results.rows += [
            row(f"per_example{'@1' * (each.threads > 1)}", 4e-4, workload=each.name),
            row("in_place", 4e-5 / gain, 10.0 * gain, workload=each.name),
            row("batched_2d", 4e-5, 10.0, workload=each.name),
        ]


def test_what_threads_gain_is_drawn_against_the_work(results: Results) -> None:
    strong_results(results, {1: 0.5, 10: 1.5, 100: 1.9})
    figure = strong(results, results.workloads)
    assert figure is not None
    (axes,) = figure.axes
    line = curve(axes, "in_place")
    assert np.asarray(line.get_xdata()).tolist() == [BOOK.flops(size) / 1e6 for size in (1, 10, 100)]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([0.5, 1.5, 1.9])
    assert [text.get_text() for text in axes.texts] == ["in_place (from 0.96)"]  # batched_2d gains nothing anywhere
    low, high = next(y for x, y in segments(axes) if x == [BOOK.flops(10) / 1e6] * 2)
    assert (low, high) == pytest.approx((1.5 / 1.0287, 1.5 * 1.0287), rel=1e-3)  # two intervals of 2 % together


def test_where_threads_begin_to_gain(results: Results) -> None:
    for by_batch, expected in (
        ({1: 0.5, 10: 1.5, 100: 1.9}, 10),
        ({1: 1.5, 10: 0.9, 100: 1.9}, 100),  # for good, not once
        ({1: 1.5, 10: 1.5, 100: 1.02}, None),  # not surely at the end
        ({1: 1.2, 10: 1.5, 100: 1.9}, 1),
    ):
        strong_results(results, by_batch)
        found = break_even(gains(results, results.workloads, "in_place", 2))
        assert found == (None if expected is None else BOOK.flops(expected) / 1e6)


def test_one_core_has_no_plot_of_threads(results: Results, tmp_path: Path) -> None:
    swept(results, "strong", BOOK)
    results.rows = [row("in_place", 4e-5)]
    assert draw(results, tmp_path) == []


def test_a_sweep_of_dtypes_is_points_of_speedups(results: Results) -> None:
    results.workloads[0] = workload_result(msgspec.structs.replace(BOOK, sweep="dtype"))
    axes = sweep(results, "dtype", results.workloads).axes[0]
    assert set(points(axes)) == {0, 1, 2}


def test_names_at_the_ends_of_curves_do_not_overlap(results: Results) -> None:
    """Eighteen rows within ten per cent of each other; each name is in the order of the curves, and beside its own."""
    swept(results, "batch", BOOK, msgspec.structs.replace(BOOK, name="b100", batch_size=100))
    names = [f"row_{number:02}" for number in range(18)]
    results.rows = [
        row(name, seconds * (1 + number / 180), workload=workload)
        for workload, seconds in (("book", 4e-5), ("b100", 2e-4))
        for number, name in enumerate(names)
    ]
    figure = sweep(results, "batch", results.workloads)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}
    assert sorted(texts) == ["NumPy's large product", "peak", *names]
    boxes = {name: Text.get_window_extent(text) for name, text in texts.items()}  # without the line to the curve
    for one, other in itertools.combinations(boxes.values(), 2):
        assert one.y0 >= other.y1 - 0.5 or other.y0 >= one.y1 - 0.5
    assert sorted(names, key=lambda name: boxes[name].y0) == names
    assert all(box.x0 > axes.transData.transform((100, 1))[0] for box in boxes.values())  # to the right of the curves
    assert all(box.x1 <= figure.bbox.x1 for box in boxes.values())


def test_a_name_without_neighbours_is_beside_its_curve(results: Results) -> None:
    swept(results, "batch", BOOK, msgspec.structs.replace(BOOK, name="b100", batch_size=100))
    results.rows = [row("in_place", 4e-5), row("in_place", 2e-2, workload="b100")]
    figure = sweep(results, "batch", results.workloads)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (name,) = (text for text in axes.texts if text.get_text() == "in_place")
    box, (_, y) = Text.get_window_extent(name), axes.transData.transform((100, 2e-4))
    assert (box.y0 + box.y1) / 2 == pytest.approx(y, abs=2)


# --- Files -------------------------------------------------------------------------------------------------------


def test_files_are_the_same_bytes_each_time(results: Results, tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in draw(results, tmp_path / "one")}
    second = {path.name: path.read_bytes() for path in draw(results, tmp_path / "two")}
    assert first == second
    assert set(first) == {"speedups.svg", "speedups.png", "peak.svg", "peak.png"}
    assert b"book" in first["speedups.svg"]  # text stays text


def test_each_figure_is_laid_out_once_and_drawn_once_for_each_file(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What matplotlib does by itself, to lay out and to draw each figure for every file, takes twice as long."""
    calls: list[str] = []
    execute, draw_figure = ConstrainedLayoutEngine.execute, Figure.draw

    @functools.wraps(draw_figure)
    def counted_draw(figure: Figure, renderer: RendererBase) -> None:
        calls.append("draw")
        draw_figure(figure, renderer)

    def counted_layout(engine: ConstrainedLayoutEngine, figure: Figure) -> None:
        calls.append("layout")
        execute(engine, figure)

    monkeypatch.setattr(Figure, "draw", counted_draw)
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", counted_layout)
    paths = draw(results, tmp_path)
    assert calls == ["layout", "draw", "draw"] * (len(paths) // 2)


def test_nothing_of_scipy_is_imported_to_draw_speed_ups() -> None:
    """It takes as long as matplotlib itself, and only the names at the curves of sweeps need it."""
    program = "import sys, bench.report.plots; print([name for name in sys.modules if name.startswith('scipy')])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_three_sizes_of_networks_make_an_overview(results: Results, tmp_path: Path) -> None:
    for name in ("deep", "large", "other"):
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    names = [path.name for path in draw(results, tmp_path)]
    assert names[:2] == ["overview.svg", "overview.png"]
    overview = (tmp_path / "overview.svg").read_text()
    assert "deep" in overview
    assert "other" not in overview
    assert "other" in (tmp_path / "speedups.svg").read_text()


def test_a_figure_of_hundreds_of_panels_is_a_coarser_png(tmp_path: Path) -> None:
    """matplotlib draws no 65,536 dots on a side."""
    _, path = save(Figure(figsize=(1, 700)), tmp_path / "high")
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert (width, height) == (28, 20_000)


def test_nothing_timed_draws_nothing(results: Results, tmp_path: Path) -> None:
    results.rows = [of_row for of_row in results.rows if of_row.outcome != "ok"]
    assert draw(results, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_any_name_and_message_is_drawn(results: Results, tmp_path: Path, name: str) -> None:
    """Warnings are errors here, so that a letter which the font lacks would end the test."""
    results.rows.append(msgspec.structs.replace(results.rows[3], label=name, implementation=name))
    results.rows.append(Row("book", f"{name}!", name, 1, "crashed", name))
    results.notes.append(name)
    swept_too = msgspec.structs.replace(BOOK, name="swept", sweep="batch")
    add(results, swept_too, row(name, 4e-5, workload="swept"))
    paths = draw(results, tmp_path)
    assert len(paths) == 6
    for path in paths:
        if path.suffix == ".svg":
            ET.parse(path)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_any_name_fits_into_the_tables(results: Results, name: str) -> None:
    results.rows[3] = msgspec.structs.replace(results.rows[3], label=name, implementation=name)
    lines = markdown(results).splitlines()
    assert len(lines) == 8
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    text = "\n".join(summary_lines(results))
    assert not set(map(chr, range(32))) - {"\n"} & set(text)


# --- Tables ------------------------------------------------------------------------------------------------------


def test_the_whole_table_says_it_all(results: Results) -> None:
    lines = summary_lines(results, whole=True)
    title = (
        "book: 784-30-10, batch 10, float64, 1 thread, step; speed-ups over per_example; "
        "peak 20.0 µs at 47.9 Gflop/s; NumPy's product reaches 80 %"
    )
    assert title in [line.strip() for line in lines]
    in_place = next(line for line in lines if line.strip().startswith("in_place"))
    for words in ("40.0 µs", "10.0", "9.80 to 10.2", "50.0", "1.00", "30", "100 ms", "1.00 ms", "100 µs"):
        assert words in in_place
    assert any("torch: unavailable: needs torch" in line for line in lines)
    assert lines[-1] == "note: book: a note"
    of_rows = [line for line in lines if not line.startswith("in_place is the fastest row")]
    order = [
        line.split()[0] for line in of_rows if line.strip().startswith(("per_example", "control", "batched", "in_"))
    ]
    assert order == ["control", "per_example", "batched_2d", "in_place"]  # the slowest first


def test_why_rows_failed_is_said_however_many_notes_there_are(results: Results) -> None:
    for label in ("first", "second"):
        results.rows.append(Row("book", label, label, 1, "crashed", f"it is the {label}"))
    results.rows += [Row(name, "second", "second", 1, "crashed", "it is the second") for name in ("deep", "large")]
    results.notes = [f"note {number}" for number in range(9)]
    results.notes[7:7] = [failure_text(row) for row in results.rows[-4:]]
    assert [line for line in summary_lines(results) if line.startswith("note: ")] == [
        "note: book, first: crashed: it is the first",
        "note: book, second: crashed: it is the second (and on 2 more)",
        *(f"note: note {number}" for number in range(6)),
    ]
    assert summary_lines(results)[-1] == "3 more in the results; -v prints all notes"
    whole = [line for line in summary_lines(results, whole=True) if line.startswith("note: ")]
    assert whole == [f"note: {note}" for note in results.notes]


def test_more_cores_than_were_given_are_marked(results: Results) -> None:
    results.rows[3].cores_used = 1.04
    assert "1.04 " in " ".join(summary_lines(results))
    results.rows[3].cores_used = 1.9
    assert "1.90!" in " ".join(summary_lines(results))


def test_jitter_is_marked_and_explained_in_every_table(results: Results) -> None:
    assert "~" not in "".join([*summary_lines(results), markdown(results)])
    for process in results.rows[3].processes:
        process.samples = [Sample(number, 4e-5 * (1.4 if number > 2 else 1.0), 1.0) for number in range(5)]
    assert "40.0 µs~" in " ".join(summary_lines(results))
    assert markdown(results).splitlines()[5:] == [
        "| `in_place` | 10.0 ± 0.2 ~ |",
        "| peak | 20.0 |",
        "| reference rate | 16.0 |",
        "",
        "~ jitter: a quarter of the samples took clearly longer than the time says",
    ]
    for name in ("deep", "large", "other"):
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    lines = summary_lines(results)  # one table of all workloads
    assert next(line for line in lines if line.startswith("in_place")).split() == ["in_place", "10.0~"]
    assert "~ jitter: a quarter of the samples took clearly longer than the time says" in lines


def controls_sentence(results: Results) -> str:
    (sentence,) = (sentence for sentence in findings(results) if "control" in sentence)
    return sentence


def test_two_processes_say_nothing_of_noise(results: Results) -> None:
    """Their intervals reach over orders of magnitude."""
    del results.rows[1].processes[2:]
    assert not any("noise" in sentence for sentence in findings(results))


def test_controls_are_judged_together(results: Results) -> None:
    for number in range(8):
        name = f"other{number}"
        rows = [row("per_example", 4e-4, workload=name), row(CONTROL, 4e-4, 1.0, workload=name)]
        add(results, msgspec.structs.replace(BOOK, name=name), *rows)
    results.rows[1].speed_up = Estimate(1.02, 1.0005, 1.04)
    assert controls_sentence(results) == (
        "All 9 controls hold (that the interval of book excludes 1 can be chance): "
        "identical code is as fast as itself; differences below 4.0 % are noise."
    )
    results.rows[-1].speed_up = Estimate(0.98, 0.96, 0.9995)
    assert "that those of book, other7 exclude 1 can be chance: they come from the same" in controls_sentence(results)
    results.rows[1].speed_up = Estimate(1.2, 1.18, 1.22)
    assert controls_sentence(results).startswith("The control does not hold on book, where identical code seemed")


def test_the_markdown_table_has_a_column_a_workload(results: Results) -> None:
    assert markdown(results).splitlines() == [
        "|  | book |",
        "| --- | ---: |",
        "| `per_example` | **400 µs** |",
        "| `control` | 0.995 ± 0.02 |",
        "| `batched_2d` | 8.00 ± 0.2 |",
        "| `in_place` | 10.0 ± 0.2 |",
        "| peak | 20.0 |",
        "| reference rate | 16.0 |",
    ]


# --- Numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.0, "1.00 s"),
        (0.99951, "1.00 s"),
        (2.05e-3, "2.05 ms"),
        (31.42e-6, "31.4 µs"),
        (999e-9, "999 ns"),
        (100e-6, "100 µs"),
        (99.96e-6, "100 µs"),
        (9.996e-6, "10.0 µs"),
        (65.0, "65.0 s"),
    ],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01962, "0.0196"), (7.651, "7.65"), (9.999, "10.0"), (22.74, "22.7"), (1190.4, "1190"), (0.0, "0"), (1, "1.00")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number_text(value) == text


@given(st.floats(1e-4, 1e4), st.integers(1, 5))
def test_a_number_is_right_to_its_digits(value: float, digits: int) -> None:
    text = number_text(value, digits)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_intervals_in_words() -> None:
    known, alone = Estimate(7.651, 7.571, 7.731), Estimate(7.651)
    assert estimate_text(known) == "7.65 (7.57 to 7.73)"
    assert interval_text(known) == "7.57 to 7.73"
    assert margin_text(known) == "7.65 ± 0.08"
    assert (estimate_text(alone), interval_text(alone), margin_text(alone)) == ("7.65", "", "7.65")


def test_operations_have_units() -> None:
    assert [flops_text(flops) for flops in (120, 958_800, 4.7e6, 2.2e9)] == [
        "120 flop",
        "959 kflop",
        "4.70 Mflop",
        "2.20 Gflop",
    ]
