"""The plots and the tables by what a reader sees, not by pixels."""

import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Generator
from pathlib import Path
from typing import Any

import matplotlib
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_results import BOOK, PEAK_SECONDS, made_up_results, processes, row, workload_result
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.typing import ColorType

from bench.analysis.notes import failure_note
from bench.output.findings import findings
from bench.output.plots.curves import sweep
from bench.output.plots.dots import POST_WAYS, SLOWEST, peak, seven_ways, speedups
from bench.output.plots.drawing import GREY, STYLE
from bench.output.plots.palette import MARKERS, look
from bench.output.plots.run_plots import draw
from bench.output.plots.sweeps import break_even, gains
from bench.output.table import markdown, summary_lines
from bench.output.text import estimate_text, flops_text, interval_text, margin_text, number_text, seconds_text
from bench.records import CONTROL, Estimate, Note, Outcome, Results, Row, Sample, Workload

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


def dots(axes: Axes) -> dict[int, tuple[float, Line2D]]:
    """Return where the dots of a panel are, and the lines that end with them, by the line of the panel."""
    stems = [line for line in axes.lines if line.get_marker() != "None" and line.get_markevery()]
    return {round(np.asarray(stem.get_ydata())[-1]): (np.asarray(stem.get_xdata())[-1], stem) for stem in stems}


def segments(axes: Axes) -> list[Any]:
    """Return the ends of all intervals of a panel."""
    collections = [each for each in axes.collections if isinstance(each, LineCollection)]
    return [segment.tolist() for each in collections for segment in each.get_segments()]


def labels_of(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def numbers(axes: Axes) -> dict[int, Text]:
    """Return what is written beside the dots, by line."""
    return {round(text.get_position()[1]): text for text in axes.texts if text.get_bbox_patch()}


# --- Speed-ups ---------------------------------------------------------------------------------------------------


def test_speedups_are_dots_with_intervals_and_numbers(results: Results) -> None:
    axes = speedups(results, results.workloads).axes[0]
    assert axes.get_xscale() == "log"
    assert labels_of(axes) == ["per_example", "batched_2d", "in_place", "torch"]  # in the ladder's order; no control
    assert axes.yaxis_inverted()  # the first one at the top
    assert {line: value for line, (value, _) in dots(axes).items()} == {0: 1.0, 1: 8.0, 2: 10.0}
    for line, (_, stem) in dots(axes).items():
        style = look(labels_of(axes)[line])
        assert stem.get_marker() == style.marker
        assert same_color(stem.get_color(), style.colour)
    assert segments(axes)[1:] == [[[7.84, 1], [8.16, 1]], [[9.8, 2], [10.2, 2]]]
    texts = {line: text.get_text() for line, text in numbers(axes).items()}
    assert texts == {0: "baseline, 400 µs", 1: "8.00×", 2: "10.0×", 3: "unavailable"}
    assert axes.get_title(loc="left") == "book\n"
    assert "784-30-10, batch 10, float64, 1 thread, step" in [text.get_text() for text in axes.texts]


def test_baseline_rates_and_control_are_drawn(results: Results) -> None:
    axes = speedups(results, results.workloads).axes[0]
    upright = [line for line in axes.lines if line.get_marker() == "None"]
    assert [np.asarray(line.get_xdata())[0] for line in upright] == pytest.approx([1, 20, 16])  # peak, reference rate
    (band,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert [band.get_x(), band.get_x() + band.get_width()] == pytest.approx([0.995 * 0.98, 0.995 * 1.02])


@pytest.mark.parametrize(
    ("outcome", "short"), [(Outcome.INCORRECT_AFTER_TIMING, "incorr."), (Outcome.INCONSISTENT_TIMING, "incons.")]
)
def test_a_result_that_was_not_timed_shows_its_outcome(results: Results, outcome: Outcome, short: str) -> None:
    results.rows[3] = Row("book", "in_place", "in_place", 1, outcome, "for a reason that takes many words " * 9)
    for name in ("deep", "large", "other"):
        add(results, msgspec.structs.replace(BOOK, name=name), row("per_example", 4e-4, workload=name))
    figure = speedups(results, results.workloads)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    number, panel = numbers(axes)[2], axes.get_window_extent()
    assert number.get_text() == outcome
    assert same_color(number.get_color(), GREY)
    assert 2 not in dots(axes)
    assert panel.x0 <= number.get_window_extent().x0 < number.get_window_extent().x1 <= panel.x1
    lines = summary_lines(results)  # one table of all workloads
    assert next(line for line in lines if line.startswith("in_place")).split("  ", 1)[1].strip() == short
    heat_map = peak(results, results.workloads)
    heat_map.draw_without_rendering()
    axes = heat_map.axes[0]
    (text,) = (text for text in axes.texts if text.get_position() == (0, 2))
    box, (left, right) = text.get_window_extent(), axes.transData.transform([(-0.5, 2), (0.5, 2)])[:, 0]
    assert text.get_text() == short
    assert left < box.x0 < box.x1 < right


def test_much_slower_than_the_baseline_is_an_arrow_at_the_edge(results: Results) -> None:
    results.rows[2] = row("pure_python", 2e-2, 0.0196)
    axes = speedups(results, results.workloads).axes[0]
    value, stem = dots(axes)[0]
    assert (labels_of(axes)[0], value, stem.get_marker()) == ("pure_python", SLOWEST, "<")
    assert axes.get_xlim()[0] == SLOWEST
    assert numbers(axes)[0].get_text() == "0.0196×"


def test_all_panels_have_the_same_lines_and_scale(results: Results) -> None:
    add(
        results,
        LARGE,
        row("batched_2d@1", 1.9e-2, workload="large"),
        row("numba", 1e-2, 1.9, workload="large"),
        row("batched_2d", 1e-2, 2.0, workload="large"),
    )
    figure = speedups(results, results.workloads)
    book, large = figure.axes
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
    handles = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    families = ["Python and NumPy", "Rust", "framework", "other"]
    others = ["95 % interval", "noise floor: the control's interval", "peak: multiply-adds in registers"]
    assert list(handles) == [*families, *others, "NumPy's large product"]
    for family in families:
        handle = handles[family]
        assert isinstance(handle, Line2D)
        assert handle.get_marker() == MARKERS[family]
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


def test_seven_ways_show_what_the_post_claimed(results: Results) -> None:
    assert seven_ways(results) is None  # Rust is missing
    results.rows = [row(label, 4e-4 / n, float(n) if n > 1 else None) for n, label in enumerate(POST_WAYS, start=1)]
    axes = seven_ways(results).axes[0]  # type: ignore[union-attr]
    assert {line: value for line, (value, _) in dots(axes).items()} == {n: n + 1 for n in range(7)}
    assert numbers(axes)[2].get_text() == "3.00 (2.94 to 3.06)   2019: about 2"
    claims = next(line for line in axes.lines if line.get_label() == "the 2019 post")
    assert np.asarray(claims.get_xydata()).tolist() == [[1, 0], [2, 2], [4, 3]]


# --- The peak ----------------------------------------------------------------------------------------------------


def test_the_peak_is_a_heat_map_of_implementations_by_workloads(results: Results) -> None:
    results.workloads.insert(0, workload_result(LARGE))  # more operations: the last column, whatever the order
    results.rows += [row("batched_2d@1", 1.9e-2, workload="large"), row("in_place", 2.2e-5, 8.0, workload="large")]
    results.rows[3].percent_of_peak = Estimate(50.2, 49.0, 51.4)
    axes = peak(results, results.workloads).axes[0]
    assert labels_of(axes) == ["per_example", "batched_2d", "in_place", "torch", "NumPy's large product"]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["book\n959 kflop", f"large\n{flops_text(LARGE.flops(256))}"]
    (image,) = axes.images
    shown = np.ma.masked_invalid(np.asarray(image.get_array(), float)).filled(math.nan)
    expected: Any = [[5, math.nan], [40, math.nan], [50.2, 100 * 2e-5 / 2.2e-5], [math.nan, math.nan], [80, 80]]
    np.testing.assert_allclose(shown, expected)
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["5.0", "–", "40", "–", "50", "91", "–", "–", "80", "80"]


def luminance(colour: ColorType) -> float:
    """Return the relative luminance of the Web Content Accessibility Guidelines, 0 for black to 1 for white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_numbers_can_be_read_on_their_colours(results: Results) -> None:
    """From 0 to 100 per cent, with the contrast of 3 to 1 that large text needs at least."""
    results.rows = [row(f"row_{percent}", 1e-3, percent_of_peak=Estimate(percent)) for percent in range(101)]
    axes = peak(results, results.workloads).axes[0]
    (image,) = axes.images
    for percent, text in enumerate(axes.texts[:101]):
        (cell,) = np.asarray(image.cmap(np.asarray(image.norm(np.array([float(percent)])))))
        dark, light = sorted((luminance(tuple(cell)), luminance(text.get_color())))
        assert (light + 0.05) / (dark + 0.05) > 3, percent


# --- Sweeps ------------------------------------------------------------------------------------------------------


def swept(results: Results, sweep: str, *workloads: Workload) -> None:
    """Put workloads of a sweep in the place of the one that is there, without rows."""
    results.workloads = [workload_result(msgspec.structs.replace(workload, sweep=sweep)) for workload in workloads]
    results.rows = []


def figure_of(results: Results) -> Figure:
    figure = sweep(results, results.workloads[0].workload.sweep, results.workloads)
    assert figure is not None
    return figure


def curve(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return x and y of the curve of that name."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


HUNDRED = msgspec.structs.replace(BOOK, name="b100", batch_size=100)


def test_a_sweep_is_log_log_time_per_example(results: Results) -> None:
    swept(results, "batch", BOOK, HUNDRED)
    results.rows = [row("in_place", 4e-5, 10.0), row("in_place", 2e-4, 20.0, workload="b100")]
    for generation, process in enumerate(results.rows[0].processes):
        process.samples = processes(4e-5 * (1 + generation / 100))[0].samples
    axes = figure_of(results).axes[0]
    for name, seconds in (
        ("in_place", [4e-6, 2e-6]),
        ("peak", [2e-6, 2e-7]),
        ("NumPy's large product", [2.5e-6, 2.5e-7]),
    ):
        xs, ys = curve(axes, name)
        assert xs == [10, 100]
        assert ys == pytest.approx(seconds)
    (_, low), (_, high) = segments(axes)[0]
    assert 0.96 * 4e-6 < low < 4e-6 < high < 1.04 * 4e-6  # around the time that the table has
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.texts] == ["in_place", "peak", "NumPy's large product"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("examples in a mini-batch", "time per example")


def test_a_sweep_has_a_panel_for_each_dtype_and_number_of_threads(results: Results) -> None:
    single = msgspec.structs.replace(BOOK, name="single", dtype="float32", threads=2)
    swept(results, "batch-grid", BOOK, single, msgspec.structs.replace(HUNDRED, dtype="float32", threads=2))
    results.rows = [
        *(row("in_place", 4e-5, workload=name) for name in ("book", "single", "b100")),
        row("per_example@1", 4e-4, workload="single"),
    ]
    first, second = figure_of(results).axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["float64, 1 thread", "float32, 2 threads"]
    assert (curve(first, "in_place")[0], curve(second, "in_place")[0]) == ([10], [10, 100])
    assert first.get_ylim() == second.get_ylim()
    assert "per_example@1" not in [line.get_label() for line in second.lines]


@pytest.mark.parametrize(
    ("name", "changes", "xs", "per"),
    [
        ("width", [{"sizes": (784, 64, 10)}, {"sizes": (784, 8, 10)}], [8, 64], "example"),
        ("depth", [{"sizes": (784, 10, 10)}, {"sizes": (784, 10, 10, 10)}], [1, 2], "example"),
        ("threads", [{"threads": 1}, {"threads": 2}], [1, 2], "step"),
        ("data", [{"timed": "epoch", "epoch_examples": n} for n in (150, 50_000)], [150, 50_000], "example"),
    ],
)
def test_sweeps_vary_what_they_say(results: Results, name: str, changes: Any, xs: list[int], per: str) -> None:
    swept(results, name, *(msgspec.structs.replace(BOOK, name=str(n), **each) for n, each in enumerate(changes)))
    results.rows = [row("in_place", 4e-5, workload=each.workload.name) for each in results.workloads]
    axes = figure_of(results).axes[0]
    assert curve(axes, "in_place")[0] == xs
    assert axes.get_ylabel() == f"time per {per}"


def strong_results(results: Results, gains_by_batch: dict[int, float]) -> None:
    """Put a sweep `strong` of two threads in the place of what is there: a row that gains so much, by batch size."""
    sizes = [(threads, size) for threads in (1, 2) for size in gains_by_batch]
    workloads = [
        msgspec.structs.replace(BOOK, name=f"{size}:{threads}", batch_size=size, threads=threads)
        for threads, size in sizes
    ]
    swept(results, "strong", *workloads)
    for each in workloads:
        gain = gains_by_batch[each.batch_size] if each.threads == 2 else 1.0
        results.rows += [
            row(f"per_example{'@1' * (each.threads > 1)}", 4e-4, workload=each.name),
            row("in_place", 4e-5 / gain, 10.0 * gain, workload=each.name),
            row("batched_2d", 4e-5, 10.0, workload=each.name),
        ]


def test_what_threads_gain_is_drawn_against_the_work(results: Results) -> None:
    strong_results(results, {1: 0.5, 10: 1.5, 100: 1.9})
    (axes,) = figure_of(results).axes
    steps = [BOOK.flops(size) / 1e6 for size in (1, 10, 100)]
    xs, ys = curve(axes, "in_place (from 0.96)")
    assert xs == steps
    assert ys == pytest.approx([0.5, 1.5, 1.9])
    assert [text.get_text() for text in axes.texts] == ["in_place (from 0.96)"]  # batched_2d gains nothing anywhere
    low, high = next(ends for ends in segments(axes) if ends[0][0] == steps[1] and ends[0] != ends[1])
    assert (low[1], high[1]) == pytest.approx((1.5 / 1.0287, 1.5 * 1.0287), rel=1e-3)  # two intervals of 2 % together


@pytest.mark.parametrize(
    ("by_batch", "expected"),
    [
        ({1: 1.5, 10: 0.9, 100: 1.9}, 100),  # for good, not once
        ({1: 1.5, 10: 1.5, 100: 1.02}, None),  # not surely at the end
        ({1: 1.2, 10: 1.5, 100: 1.9}, 1),
    ],
)
def test_where_threads_begin_to_gain(results: Results, by_batch: dict[int, float], expected: int | None) -> None:
    strong_results(results, by_batch)
    begins = break_even(gains(results, results.workloads, "in_place", 2))
    assert begins == (None if expected is None else BOOK.flops(expected) / 1e6)


def test_a_sweep_of_dtypes_is_dots_of_speedups(results: Results) -> None:
    results.workloads[0] = workload_result(msgspec.structs.replace(BOOK, sweep="dtype"))
    assert set(dots(figure_of(results).axes[0])) == {0, 1, 2}


def test_names_at_the_ends_of_curves_do_not_overlap(results: Results) -> None:
    """Eighteen curves within ten per cent of each other, and one far above whose name is beside it."""
    swept(results, "batch", BOOK, HUNDRED)
    names = [f"row_{number:02}" for number in range(18)]
    results.rows = [
        row(name, seconds * (1 + number / 180), workload=workload)
        for workload, seconds in (("book", 4e-5), ("b100", 2e-4))
        for number, name in enumerate(names)
    ]
    results.rows += [row("in_place", 4e-3), row("in_place", 4e-1, workload="b100")]
    figure = figure_of(results)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}
    assert sorted(texts) == ["NumPy's large product", "in_place", "peak", *names]
    boxes = {name: Text.get_window_extent(text) for name, text in texts.items()}  # without the line to the curve
    for one, other in itertools.combinations(boxes.values(), 2):
        assert one.y0 >= other.y1 - 0.5 or other.y0 >= one.y1 - 0.5
    assert sorted(names, key=lambda name: boxes[name].y0) == names
    assert all(axes.bbox.x1 < box.x0 < box.x1 <= figure.bbox.x1 for box in boxes.values())
    middle = (boxes["in_place"].y0 + boxes["in_place"].y1) / 2
    assert middle == pytest.approx(axes.transData.transform((100, 4e-3))[1], abs=2)


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
    swept(results, "strong", BOOK)
    results.rows = [row("in_place", 4e-5)]
    assert draw(results, tmp_path) == []  # one core
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_any_name_and_message_is_drawn_and_fits_into_the_tables(results: Results, tmp_path: Path, name: str) -> None:
    """Warnings are errors here, so that a letter which the font lacks would end the test."""
    results.rows[3] = msgspec.structs.replace(results.rows[3], label=name, implementation=name)
    lines = markdown(results).splitlines()
    assert len(lines) == 8
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert not set(map(chr, range(32))) - {"\n"} & set("\n".join(summary_lines(results)))
    results.rows.append(Row("book", f"{name}!", name, 1, Outcome.CRASHED, name))
    results.notes.append(Note(name))
    add(results, msgspec.structs.replace(BOOK, name="swept", sweep="batch"), row(name, 4e-5, workload="swept"))
    paths = draw(results, tmp_path, "svg")
    assert len(paths) == 3
    for path in paths:
        ET.parse(path)


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
        results.rows.append(Row("book", label, label, 1, Outcome.CRASHED, f"it is the {label}"))
    results.rows += [
        Row(name, "second", "second", 1, Outcome.CRASHED, "it is the second") for name in ("deep", "large")
    ]
    results.notes = [Note(f"note {number}") for number in range(9)]
    results.notes[7:7] = [failure_note(row) for row in results.rows[-4:]]
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
        "All 9 A/A controls passed (that the interval of book excludes 1 can be chance); "
        "differences below 4.0 % are noise."
    )
    results.rows[-1].speed_up = Estimate(0.98, 0.96, 0.9995)
    assert "that the interval of book, other7 excludes 1 can be chance" in controls_sentence(results)
    results.rows[1].speed_up = Estimate(1.2, 1.18, 1.22)
    assert controls_sentence(results).startswith("The A/A control failed on book, where identical code seemed")


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
