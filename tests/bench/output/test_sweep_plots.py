"""The plots of sweeps by what a reader sees, not by pixels."""

import itertools
from collections.abc import Generator
from typing import Any

import msgspec
import numpy as np
import pytest
from made_up_results import BOOK, made_up_results, processes, row, workload_result
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from test_plots import add, segments

from bench.conditions import Workload
from bench.output.plots.curves import sweep
from bench.output.plots.drawing import style
from bench.output.plots.sweeps import break_even, gains
from bench.records import Results

HUNDRED = msgspec.structs.replace(BOOK, name="b100", batch_size=100)


@pytest.fixture
def results() -> Results:
    return made_up_results()


@pytest.fixture(autouse=True)
def in_our_style() -> Generator[None]:
    with style():
        yield


def put_sweep(results: Results, name: str, *workloads: Workload) -> None:
    """Put workloads of a sweep in the place of the one that is there, without results."""
    results.workloads = [workload_result(msgspec.structs.replace(workload, sweep=name)) for workload in workloads]
    results.rows = []


def figure_of(results: Results) -> Figure:
    figure = sweep(results, results.workloads[0].workload.sweep, results.workloads)
    assert figure is not None
    return figure


def curve(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return x and y of the curve of that name."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_a_sweep_is_log_log_time_per_example(results: Results) -> None:
    put_sweep(results, "batch", BOOK, HUNDRED)
    results.rows = [row("in_place", 4e-5, 10.0), row("in_place", 2e-4, 20.0, workload="b100")]
    for number, process in enumerate(results.rows[0].processes):
        process.samples = processes(4e-5 * (0.98 + number / 100))[0].samples
    axes = figure_of(results).axes[0]
    product = "NumPy's large product"
    for name, seconds in (("in_place", [4e-6, 2e-6]), ("peak", [2e-6, 2e-7]), (product, [2.5e-6, 2.5e-7])):
        xs, ys = curve(axes, name)
        assert xs == [10, 100]
        assert ys == pytest.approx(seconds, rel=1e-3)
    (_, low), (_, high) = segments(axes)[0]
    assert 0.96 * 4e-6 < low < 4e-6 < high < 1.04 * 4e-6
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.texts] == ["in_place", "peak", product]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("examples in a mini-batch", "time per example")


def test_a_sweep_has_a_panel_for_each_dtype_and_number_of_threads(results: Results) -> None:
    single = msgspec.structs.replace(BOOK, name="single", dtype="float32", threads=2)
    put_sweep(results, "batch-grid", BOOK, single, msgspec.structs.replace(HUNDRED, dtype="float32", threads=2))
    results.rows = [row("in_place", 4e-5, workload=name) for name in ("book", "single", "b100")]
    results.rows.append(row("per_example@1", 4e-4, workload="single"))
    first, second = figure_of(results).axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["float64, 1 thread", "float32, 2 threads"]
    assert (curve(first, "in_place")[0], curve(second, "in_place")[0]) == ([10], [10, 100])
    assert first.get_ylim() == second.get_ylim()
    assert "per_example@1" not in [line.get_label() for line in second.lines]


@pytest.mark.parametrize(
    ("name", "changes", "xs", "per"),
    [
        ("depth", [{"sizes": (784, 10, 10)}, {"sizes": (784, 10, 10, 10)}], [1, 2], "example"),
        ("threads", [{"threads": 1}, {"threads": 2}], [1, 2], "step"),
        ("data", [{"timed": "epoch", "epoch_examples": n} for n in (150, 50_000)], [150, 50_000], "example"),
    ],
)
def test_sweeps_vary_what_they_say(results: Results, name: str, changes: Any, xs: list[int], per: str) -> None:
    put_sweep(results, name, *(msgspec.structs.replace(BOOK, name=str(n), **each) for n, each in enumerate(changes)))
    results.rows = [row("in_place", 4e-5, workload=each.workload.name) for each in results.workloads]
    axes = figure_of(results).axes[0]
    assert curve(axes, "in_place")[0] == xs
    assert axes.get_ylabel() == f"time per {per}"


def put_strong(results: Results, gains_by_batch: dict[int, float]) -> None:
    """Put a sweep `strong` of two threads in the place of what is there: in_place gains so much, by batch size."""
    put_sweep(results, "strong")
    for threads, (size, gain) in itertools.product((1, 2), gains_by_batch.items()):
        name, speed_up = f"{size}:{threads}", 10.0 * (gain if threads == 2 else 1.0)
        workload = msgspec.structs.replace(BOOK, name=name, batch_size=size, threads=threads, sweep="strong")
        times = {f"per_example{'@1' * (threads > 1)}": None, "in_place": speed_up, "batched_2d": 10.0}
        add(results, workload, *(row(label, 4e-4 / (ratio or 1), ratio, name) for label, ratio in times.items()))


def test_what_threads_gain_is_drawn_against_the_work(results: Results) -> None:
    put_strong(results, {1: 0.5, 10: 1.5, 100: 1.9})
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
    put_strong(results, by_batch)
    begins = break_even(gains(results, results.workloads, "in_place", 2))
    assert begins == (None if expected is None else BOOK.flops(expected) / 1e6)


def test_names_at_the_ends_of_curves_do_not_overlap(results: Results) -> None:
    """Eighteen curves are within ten per cent of each other; one is far above, and its name beside it."""
    put_sweep(results, "batch", BOOK, HUNDRED)
    names = [f"row_{number:02}" for number in range(18)]
    for workload, seconds in (("book", 4e-5), ("b100", 2e-4)):
        results.rows.append(row("in_place", 1e2 * seconds, workload=workload))
        results.rows += [row(name, seconds * (1 + n / 180), workload=workload) for n, name in enumerate(names)]
    figure = figure_of(results)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}
    boxes = {name: Text.get_window_extent(text) for name, text in texts.items()}  # without the line to the curve
    assert set(boxes) == {"NumPy's large product", "in_place", "peak", *names}
    upwards = sorted(boxes, key=lambda name: boxes[name].y0)
    assert all(boxes[upper].y0 >= boxes[lower].y1 - 0.5 for lower, upper in itertools.pairwise(upwards))
    assert [name for name in upwards if name in names] == names
    assert all(axes.bbox.x1 < box.x0 < box.x1 <= figure.bbox.x1 for box in boxes.values())
    middle = (boxes["in_place"].y0 + boxes["in_place"].y1) / 2
    assert middle == pytest.approx(axes.transData.transform((100, 2e-4))[1], abs=2)
