"""The history of implementations: in order, broken where the machine or the versions changed, and nothing concluded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_up_results import estimate, made_up_results
from matplotlib.collections import LineCollection

from bench.analysis.history import Trend, history, runs_of
from bench.analysis.results_files import to_builtins
from bench.cli.history import bars
from bench.output.plots.curves import history_plot
from bench.records import Estimate, Results
from impls.support.errors import UserError

Backprop = Callable[..., tuple[int, str, str]]


def run(day: int, speed_up: float = 10.0, **machine: Any) -> Results:
    results = made_up_results()
    results.date = f"2026-02-{day:02}T12:00:00+01:00"
    results.rows[3].speed_up = estimate(speed_up)
    results.machine = msgspec.structs.replace(results.machine, **machine)
    return results


def write(folder: Path, *runs: Results) -> None:
    for results in runs:
        place = folder / results.date[:10]
        place.mkdir(parents=True)
        (place / "results.json").write_text(json.dumps({Results.KEY: to_builtins(results)}))


def test_runs_are_in_the_order_of_their_moments_whatever_their_time_zones() -> None:
    first, second, third = run(1, 10.0), run(2, 12.0), run(3, 11.0)
    first.date, second.date = "2026-02-02T00:30:00+02:00", "2026-02-01T23:30:00+00:00"
    by_run = history([third, second, first])
    assert by_run.runs == 3
    assert [trend.label for trend in by_run.trends] == ["batched_2d", "in_place"]  # neither the control nor torch
    assert [speed_up.value for speed_up in by_run.trends[1].speed_ups] == [10.0, 12.0, 11.0]


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"python": "3.13.0"}, "Python 3.13.0"),
        ({"versions": {}}, "numpy missing"),
        ({"versions": {"numpy": "2.5.0", "jax": "0.6"}}, "numpy 2.5.0, jax 0.6"),
        (
            {"cpu_model": "Abacus 4000", "usable_cpus": 4, "cpu_quota": 1.5, "numpy_blas": "MKL 2026"},
            "processor Abacus 4000, usable CPUs 4, CPU quota 1.5, NumPy's BLAS MKL 2026",
        ),
    ],
)
def test_another_machine_or_version_begins_a_new_stretch(machine: dict[str, Any], expected: str) -> None:
    by_run = history([run(1), run(2), run(3, **machine), run(4, **machine)])
    assert by_run.changes == [("2026-02-03T12:00:00+01:00", expected)]
    assert [len(stretch) for stretch in by_run.trends[0].stretches] == [2, 2]


def test_a_bar_for_each_run_and_a_break_between_stretches() -> None:
    stretches = [[Estimate(1.0), Estimate(2.0)], [Estimate(1.5)]]
    assert bars(Trend("book", "in_place", stretches)) == "▁█|▅"
    assert bars(Trend("book", "in_place", stretches[1:])) == "▁"


def test_the_command_prints_a_line_for_each_trend_and_draws_it(backprop: Backprop, tmp_path: Path) -> None:
    write(tmp_path, run(1), run(2, 12.0), run(3, python="3.13.0"))
    status, output, errors = backprop("history", tmp_path)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[:2] == [
        "runs: 3; speed-up over the baseline, first and latest",
        "| from 2026-02-03T12:00: Python 3.13.0",
    ]
    assert lines[3].split() == ["book", "in_place", "10.0", "±", "0.2", "10.0", "±", "0.2", "▁█|▁"]
    assert (tmp_path / "history.png").stat().st_size > 1000


def test_each_implementation_and_workload_has_a_chart_with_its_intervals() -> None:
    figure = history_plot(history([run(1), run(2, 12.0), run(3, python="3.13.0")]))
    assert len(figure.axes) == 2
    chart = next(axes for axes in figure.axes if any("in_place" in text.get_text() for text in axes.texts))
    curves = [line for line in chart.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in curves] == [[10.0, 12.0], [10.0]]  # type: ignore[arg-type]
    intervals = chart.collections[0]
    assert isinstance(intervals, LineCollection)
    assert intervals.get_segments()[1].tolist() == [pytest.approx([1, 11.76]), pytest.approx([1, 12.24])]


def test_runs_without_a_speed_up_are_reported(backprop: Backprop, tmp_path: Path) -> None:
    """As after an early Ctrl-C: nothing is drawn."""
    results = run(1)
    results.rows = results.rows[:1]
    write(tmp_path, results)
    status, _, errors = backprop("history", tmp_path)
    assert status == 2
    assert "expected runs that timed an implementation and its baseline, found none; run it to the end" in errors
    assert not list(tmp_path.glob("history.*"))


def test_a_folder_without_runs_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="expected folders of runs, found none; make some with"):
            runs_of([path])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"results\.json: not a results file"):
        runs_of([tmp_path])


def test_what_is_no_run_is_skipped_with_a_line(backprop: Backprop, tmp_path: Path) -> None:
    write(tmp_path, run(1), run(2))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.json").write_text('{"machine_info": {}, "benchmarks": []}')
    _, output, errors = backprop("history", tmp_path)
    assert output.startswith("runs: 2; ")
    assert errors.startswith(f"skipped: 1 of 3 files; {tmp_path}/a/results.json: not a results file of backprop-bench")


def test_runs_that_pytest_benchmark_stored_are_read(tmp_path: Path) -> None:
    stored = tmp_path / ".benchmarks" / "Linux"
    stored.mkdir(parents=True)
    (stored / "0001_ours.json").write_text(json.dumps({Results.KEY: to_builtins(run(1))}))
    (stored / "0002_theirs.json").write_text('{"machine_info": {}, "benchmarks": []}')
    for folder in (stored.parent, stored):
        runs, skipped = runs_of([folder])
        assert [results.date[:10] for results in runs] == ["2026-02-01"]
        assert len(skipped) == 1


def test_files_are_runs_too_and_each_counts_once(backprop: Backprop, tmp_path: Path) -> None:
    write(tmp_path, run(1), run(2))
    first, second = sorted(tmp_path.glob("*/results.json"))
    assert [results.date[:10] for results in runs_of([second, first, second])[0]] == ["2026-02-02", "2026-02-01"]
    assert f"plot: {first.with_name('history.png')}" in backprop("history", first)[1]
