"""The plots by what a reader sees, not by pixels."""

import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from contrast import contrast
from made_up_results import BOOK, PEAK_SECONDS, made_up_results, row, workload_result
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from bench.conditions import Workload
from bench.output.plots.curves import sweep
from bench.output.plots.dots import POST_WAYS, SLOWEST, peak, seven_ways, speedups
from bench.output.plots.drawing import GREY, style
from bench.output.plots.palette import MARKERS, look
from bench.output.plots.run_plots import draw
from bench.output.text import flops_text
from bench.records import Estimate, Outcome, Result, Results

LARGE = Workload("large", (784, 512, 512, 10), 256, threads=2, baseline="batched_2d")
HOSTILE = ("$\\frac{$", "bell\aand\x1b[31mred", "批处理", "x" * 300, "")


@pytest.fixture
def results() -> Results:
    return made_up_results()


@pytest.fixture(autouse=True)
def in_our_style() -> Generator[None]:
    with style():
        yield


def add(results: Results, workload: Workload, *workload_rows: Result) -> None:
    """Add a workload with its results."""
    results.workloads.append(workload_result(workload))
    results.rows += workload_rows


def dots(axes: Axes) -> dict[int, tuple[float, Line2D]]:
    """Return where the dots of a panel are, and the lines that end with them, by the line of the panel."""
    stems = [line for line in axes.lines if line.get_marker() != "None" and line.get_markevery()]
    return {round(np.asarray(stem.get_ydata())[-1]): (np.asarray(stem.get_xdata())[-1], stem) for stem in stems}


def values(axes: Axes) -> dict[int, float]:
    """Return where the dots of a panel are, by its line."""
    return {line: value for line, (value, _) in dots(axes).items()}


def segments(axes: Axes) -> list[Any]:
    """Return the ends of all intervals of a panel."""
    collections = [each for each in axes.collections if isinstance(each, LineCollection)]
    return [segment.tolist() for each in collections for segment in each.get_segments()]


def labels_of(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def texts_beside_dots(axes: Axes) -> dict[int, Text]:
    """Return what is written beside the dots, by line."""
    return {round(text.get_position()[1]): text for text in axes.texts if text.get_bbox_patch()}


# --- Speed-ups ---------------------------------------------------------------------------------------------------


def test_speedups_are_dots_with_intervals_and_numbers(results: Results) -> None:
    axes = speedups(results, results.workloads).axes[0]
    assert axes.get_xscale() == "log"
    assert labels_of(axes) == ["per_example", "batched_2d", "in_place", "torch"]  # in the ladder's order; no control
    assert axes.yaxis_inverted()  # the first one at the top
    assert values(axes) == {0: 1.0, 1: 8.0, 2: 10.0}
    for line, (_, stem) in dots(axes).items():
        _, colour, marker = look(labels_of(axes)[line])
        assert stem.get_marker() == marker
        assert same_color(stem.get_color(), colour)
    assert segments(axes)[1:] == [[[7.84, 1], [8.16, 1]], [[9.8, 2], [10.2, 2]]]
    texts = {line: text.get_text() for line, text in texts_beside_dots(axes).items()}
    assert texts == {0: "baseline, 400 µs", 1: "8.00×", 2: "10.0×", 3: "unavailable"}
    assert axes.get_title(loc="left") == "book\n"
    assert "784-30-10, batch 10, float64, 1 thread, step" in [text.get_text() for text in axes.texts]


def test_baseline_rates_and_control_are_drawn(results: Results) -> None:
    axes = speedups(results, results.workloads).axes[0]
    upright = [line for line in axes.lines if line.get_marker() == "None"]
    assert [np.asarray(line.get_xdata())[0] for line in upright] == pytest.approx([1, 20, 16])  # peak, reference rate
    (band,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert [band.get_x(), band.get_x() + band.get_width()] == pytest.approx([0.995 * 0.98, 0.995 * 1.02])


def test_a_result_that_was_not_timed_shows_its_outcome(results: Results) -> None:
    """Even the longest one stays within its panel and its cell."""
    results.rows[3] = Result("book", "in_place", "in_place", 1, Outcome.INCORRECT_AFTER_TIMING, "many words " * 9)
    for name in ("deep", "large", "other"):
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    figure, heat_map = speedups(results, results.workloads), peak(results, results.workloads)
    figure.draw_without_rendering()
    heat_map.draw_without_rendering()
    axes = figure.axes[0]
    assert 2 not in dots(axes)
    text, panel = texts_beside_dots(axes)[2], axes.get_window_extent()
    assert text.get_text() == Outcome.INCORRECT_AFTER_TIMING
    assert same_color(text.get_color(), GREY)
    assert panel.x0 <= text.get_window_extent().x0 < text.get_window_extent().x1 <= panel.x1
    axes = heat_map.axes[0]
    (text,) = (text for text in axes.texts if text.get_position() == (0, 2))
    box, (left, right) = text.get_window_extent(), axes.transData.transform([(-0.5, 2), (0.5, 2)])[:, 0]
    assert text.get_text() == "incorr."
    assert left < box.x0 < box.x1 < right


def test_much_slower_than_the_baseline_is_an_arrow_at_the_edge(results: Results) -> None:
    results.rows[2] = row("pure_python", 2e-2, 0.0196)
    axes = speedups(results, results.workloads).axes[0]
    value, stem = dots(axes)[0]
    assert (labels_of(axes)[0], value, stem.get_marker()) == ("pure_python", SLOWEST, "<")
    assert axes.get_xlim()[0] == SLOWEST
    assert texts_beside_dots(axes)[0].get_text() == "0.0196×"


def test_all_panels_have_the_same_lines_and_scale(results: Results) -> None:
    times = {"batched_2d@1": (1.9e-2, None), "numba": (1e-2, 1.9), "batched_2d": (1e-2, 2.0)}
    add(results, LARGE, *(row(label, *numbers, workload="large") for label, numbers in times.items()))
    book, large = speedups(results, results.workloads).axes
    assert labels_of(book) == ["per_example", "batched_2d", "in_place", "numba", "torch"]
    assert (book.get_xlim(), book.get_ylim()) == (large.get_xlim(), large.get_ylim())
    assert book.get_xlim()[1] > 19e-3 / PEAK_SECONDS  # the highest peak of all
    assert set(dots(large)) == {1, 3}
    assert large.get_title(loc="right").strip() == "1× is batched_2d@1, 19.0 ms"
    assert book.get_title(loc="right") == ""


def test_the_legend_names_families_and_the_caption_fits(results: Results) -> None:
    results.rows += [row("rust_fused", 2e-5, 20.0), row("mine", 2e-5, 20.0)]
    results.machine.numpy_blas = "scipy-openblas 0.3.34.237.2"
    figure = speedups(results, results.workloads)
    (legend,) = figure.legends
    markers = {
        text.get_text(): handle.get_marker()
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        if isinstance(handle, Line2D) and handle.get_marker() != "None"
    }
    assert markers == {family: MARKERS[family] for family in ("Python and NumPy", "Rust", "framework", "other")}
    title, caption = figure.texts
    words = "Abacus 3000 · 2 CPUs · Python 3.11.7 · NumPy 2.4.6 · scipy-openblas 0.3.34.237.2 · 5 processes per row"
    assert caption.get_text().replace("\n", " ") == f"{words} · 2026-01-31"
    figure.draw_without_rendering()
    boxes = [each.get_window_extent() for each in (title, figure.axes[0], legend, caption)]
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_without_control_interval_or_rates_a_panel_is_drawn(results: Results) -> None:
    """One process gives no interval; the worker of a rate may have died."""
    results.workloads[0].peak = results.workloads[0].reference = None
    for result in results.rows:
        result.speed_up = result.speed_up and Estimate(result.speed_up.value)
    axes = speedups(results, results.workloads).axes[0]
    assert not axes.patches
    assert set(dots(axes)) == {0, 1, 2}


def test_a_sweep_of_dtypes_is_dots_of_speedups(results: Results) -> None:
    results.workloads[0] = workload_result(msgspec.structs.replace(BOOK, sweep="dtype"))
    assert set(dots(sweep(results, "dtype", results.workloads).axes[0])) == {0, 1, 2}  # type: ignore[union-attr]


def test_seven_ways_show_what_the_post_claimed(results: Results) -> None:
    assert seven_ways(results) is None  # Rust is missing
    results.rows = [row(label, 4e-4 / n, float(n) if n > 1 else None) for n, label in enumerate(POST_WAYS, start=1)]
    axes = seven_ways(results).axes[0]  # type: ignore[union-attr]
    assert values(axes) == {n: n + 1 for n in range(7)}
    assert texts_beside_dots(axes)[2].get_text() == "3.00 (2.94 to 3.06)   2019: about 2"
    claims = next(line for line in axes.lines if line.get_label() == "the 2019 post")
    assert np.asarray(claims.get_xydata()).tolist() == [[1, 0], [2, 2], [4, 3]]


# --- The peak ----------------------------------------------------------------------------------------------------


def test_the_peak_is_a_heat_map_of_implementations_by_workloads(results: Results) -> None:
    results.workloads.insert(0, workload_result(LARGE))  # more operations: the last column, whatever the order
    results.rows += [row("batched_2d@1", 1.9e-2, workload="large"), row("in_place", 2.2e-5, 8.0, workload="large")]
    axes = peak(results, results.workloads).axes[0]
    assert labels_of(axes) == ["per_example", "batched_2d", "in_place", "torch", "NumPy's large product"]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["book\n959 kflop", f"large\n{flops_text(LARGE.flops(256))}"]
    shown = np.ma.masked_invalid(np.asarray(axes.images[0].get_array(), float)).filled(math.nan)
    expected: Any = [[5, math.nan], [40, math.nan], [50, 100 / 1.1], [math.nan, math.nan], [80, 80]]
    np.testing.assert_allclose(shown, expected)
    assert [text.get_text() for text in axes.texts] == ["5.0", "–", "40", "–", "50", "91", "–", "–", "80", "80"]


def test_numbers_can_be_read_on_their_colours(results: Results) -> None:
    results.rows = [row(f"row_{percent}", 1e-3, percent_of_peak=Estimate(percent)) for percent in range(101)]
    axes = peak(results, results.workloads).axes[0]
    (image,) = axes.images
    for percent, text in enumerate(axes.texts[:101]):
        (cell,) = np.asarray(image.cmap(np.asarray(image.norm(np.array([float(percent)])))))
        assert contrast(tuple(cell), text.get_color()) > 3, percent


# --- Files -------------------------------------------------------------------------------------------------------


def test_files_are_the_same_bytes_each_time(results: Results, tmp_path: Path) -> None:
    for file_format in ("svg", "png"):
        first, second = (
            {path.name: path.read_bytes() for path in draw(results, tmp_path / folder, file_format)}
            for folder in ("one", "two")
        )
        assert first == second
        assert set(first) == {f"speedups.{file_format}", f"peak.{file_format}"}
    assert "book" in (tmp_path / "one" / "speedups.svg").read_text()  # text stays text


def test_nothing_of_scipy_is_imported_to_draw_speed_ups() -> None:
    """It takes as long as matplotlib itself, and only the names at the curves of sweeps need it."""
    program = (
        "import sys, bench.output.plots.run_plots; print([name for name in sys.modules if name.startswith('scipy')])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_three_sizes_of_networks_make_an_overview(results: Results, tmp_path: Path) -> None:
    for name in ("deep", "large", "other"):
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    assert [path.name for path in draw(results, tmp_path, "svg")] == ["overview.svg", "speedups.svg", "peak.svg"]
    overview = (tmp_path / "overview.svg").read_text()
    assert "deep" in overview
    assert "other" not in overview


def test_what_cannot_be_drawn_is_not(results: Results, tmp_path: Path) -> None:
    results.rows = [result for result in results.rows if result.outcome != "ok"]
    assert draw(results, tmp_path) == []  # nothing was timed
    results.workloads = [workload_result(msgspec.structs.replace(BOOK, sweep="strong"))]
    results.rows = [row("in_place", 4e-5)]
    assert draw(results, tmp_path) == []  # one core
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_any_name_is_drawn(results: Results, tmp_path: Path, name: str) -> None:
    """Warnings are errors here, so that a letter which the font lacks would end the test."""
    results.rows[3] = msgspec.structs.replace(results.rows[3], label=name, implementation=name)
    results.rows.append(Result("book", f"{name}!", name, 1, Outcome.CRASHED, name))
    add(results, msgspec.structs.replace(BOOK, name="swept", sweep="batch"), row(name, 4e-5, workload="swept"))
    paths = draw(results, tmp_path, "svg")
    assert len(paths) == 3
    for path in paths:
        ET.parse(path)
