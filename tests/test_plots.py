"""The plots by their artists: what a reader sees, not pixels."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from bench import plots
from bench.results import KEY
from bench.table import markdown, seconds_text, summary_lines


def estimate(value: float, margin: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value * (1 - margin), "high": value * (1 + margin)}


def row(label: str, seconds: float, speed_up: float | None) -> dict[str, Any]:
    return {
        "workload": "book",
        "label": label,
        "implementation": label,
        "threads": 1,
        "outcome": "ok",
        "reason": "",
        "seconds": seconds,
        "spread": 0.01,
        "rounds_by_generation": [[0, 1, 2]] * 5,
        "cores_used": 1.0,
        "peak_rss_bytes": 3e7,
        "overhead_percent": 0.2,
        "build": {},
        "compilations_in_samples": 0,
        "outliers": 0,
        "import_seconds": 0.1,
        "setup_seconds": 1e-3,
        "first_call_seconds": 1e-4,
        "percent_of_limit": estimate(2e-5 / seconds * 100),
    } | ({"speed_up": estimate(speed_up)} if speed_up else {})


@pytest.fixture
def content() -> dict[str, Any]:
    """Return a small results file: a baseline, a control, two rows and one that is missing."""
    missing = {"workload": "book", "label": "torch", "implementation": "torch", "threads": 1}
    found = {
        "schema": 1,
        "settings": {"generations": 5},
        "workloads": [
            {
                "name": "book",
                "sizes": [784, 30, 10],
                "batch_size": 10,
                "dtype": "float64",
                "threads": 1,
                "timed": "step",
                "sweep": "",
                "description": "784-30-10, batch 10, float64, 1 thread, step",
                "baseline_label": "per_example",
                "examples": 10,
                "flops": 958800,
                "limit_seconds": 2e-5,
                "gemm_flops_per_second": 4.8e10,
            }
        ],
        "rows": [
            row("per_example", 4e-4, None),
            row("control", 4.02e-4, 0.995),
            row("batched_2d", 5e-5, 8.0),
            row("in_place", 4e-5, 10.0),
            missing | {"outcome": "unavailable", "reason": "needs torch: pip install 'backprop-bench[torch]'"},
        ],
        "notes": ["book: a note"],
    }
    return {KEY: found, "machine_info": {}}


def test_speedups_are_sorted_log_bars_with_intervals_band_and_limit(content: dict[str, Any]) -> None:
    found = content[KEY]
    axes = plots.speedups(found, found["workloads"], {}).axes[0]
    assert axes.get_xscale() == "log"
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["torch", "per_example", "batched_2d", "in_place"]  # the fastest at the top; no control
    ends = [bar.get_x() + bar.get_width() for bar in _bars(axes) if bar.get_height() == pytest.approx(0.72)]
    assert ends == pytest.approx([1.0, 8.0, 10.0])
    lines = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert any(line == pytest.approx([9.8, 10.2]) for line in lines)  # an interval
    assert any(line == pytest.approx([1.0, 1.0]) for line in lines)
    assert any(line == pytest.approx([20.0, 20.0]) for line in lines)  # the limit: 400 µs / 20 µs
    band = [patch for patch in _bars(axes) if patch.get_height() != pytest.approx(0.72)]
    assert [band[0].get_x(), band[0].get_x() + band[0].get_width()] == pytest.approx([0.995 * 0.98, 0.995 * 1.02])
    texts = " ".join(text.get_text() for text in axes.texts)
    for words in ("400 µs", "8.00×", "10.0×", "unavailable: needs torch"):
        assert words in texts


def _bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_the_limit_plot_has_a_line_a_row(content: dict[str, Any]) -> None:
    found = content[KEY]
    axes = plots.limit(found, found["workloads"], {}).axes[0]
    _, labels = axes.get_legend_handles_labels()
    assert labels == ["per_example", "batched_2d", "in_place"]
    assert axes.get_yscale() == "log"


def test_a_sweep_is_log_log_time_per_example(content: dict[str, Any]) -> None:
    found = content[KEY]
    second = copy.deepcopy(found["workloads"][0]) | {"name": "b100", "batch_size": 100, "examples": 100}
    found["workloads"][0]["sweep"] = second["sweep"] = "batch"
    found["workloads"].append(second)
    found["rows"].append(row("in_place", 2e-4, 20.0) | {"workload": "b100"})
    axes = plots.sweep(found, "batch", found["workloads"], {}).axes[0]
    line = next(line for line in axes.lines if line.get_label() == "in_place")
    assert np.asarray(line.get_xdata()).tolist() == [10, 100]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([4e-6, 2e-6])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert any(line.get_label() == "limit" for line in axes.lines)


def test_a_sweep_has_a_panel_for_each_dtype_and_number_of_threads(content: dict[str, Any]) -> None:
    found = content[KEY]
    single = copy.deepcopy(found["workloads"][0]) | {"name": "single", "dtype": "float32", "threads": 2}
    found["workloads"] += [single, copy.deepcopy(single) | {"name": "b100", "batch_size": 100, "examples": 100}]
    found["rows"] += [row("in_place", 2e-4, 20.0) | {"workload": name} for name in ("single", "b100")]
    figure = plots.sweep(found, "batch-grid", found["workloads"], {})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["float64, 1 thread", "float32, 2 threads"]
    line = next(line for line in figure.axes[1].lines if line.get_label() == "in_place")
    assert np.asarray(line.get_xdata()).tolist() == [10, 100]


def test_files_are_the_same_bytes_each_time(content: dict[str, Any], tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in plots.draw(content, tmp_path / "one")}
    second = {path.name: path.read_bytes() for path in plots.draw(content, tmp_path / "two")}
    assert first == second
    assert set(first) == {"speedups.svg", "speedups.png", "limit.svg", "limit.png"}
    assert b"book" in first["speedups.svg"]  # text stays text


def test_nothing_timed_draws_nothing(content: dict[str, Any], tmp_path: Path) -> None:
    content[KEY]["rows"] = [of for of in content[KEY]["rows"] if of["outcome"] != "ok"]
    assert plots.draw(content, tmp_path) == []


def test_the_table_says_it_all(content: dict[str, Any]) -> None:
    lines = summary_lines(content[KEY])
    in_place = next(line for line in lines if line.strip().startswith("in_place"))
    for words in ("40.0 µs", "10", "9.8 to 10.2", "50.0", "1.00", "30"):
        assert words in in_place
    assert any("torch: unavailable: needs torch" in line for line in lines)
    assert lines[-1] == "note: book: a note"


def test_the_markdown_table_has_a_column_a_workload(content: dict[str, Any]) -> None:
    assert markdown(content[KEY]).splitlines() == [
        "|  | book |",
        "| --- | ---: |",
        "| `per_example` | **400 µs** |",
        "| `control` | 0.995 ± 0.02 |",
        "| `batched_2d` | 8.00 ± 0.2 |",
        "| `in_place` | 10.0 ± 0.2 |",
        "| limit | 20.0 |",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.0, "1.00 s"),
        (0.99951, "1.00 s"),
        (2.05e-3, "2.05 ms"),
        (31.42e-6, "31.4 µs"),
        (999e-9, "999 ns"),
        (100e-6, "100 µs"),
    ],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
