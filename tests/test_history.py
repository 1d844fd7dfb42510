"""The history of rows: in order, broken where the machine or the versions changed, and nothing judged."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from made_up_results import estimate, made_up_results

from bench.commands.history import bars, show_history
from bench.records import Estimate, Results
from bench.report.history_plot import history_plot
from bench.results.files import to_builtins
from bench.results.history import Line, Point, history, runs_of
from impls.errors import UserError


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


def test_runs_are_in_the_order_of_their_dates() -> None:
    found = history([run(3, 12.0), run(1, 10.0), run(2, 11.0)])
    assert found.runs == 3
    (line,) = (line for line in found.lines if line.label == "in_place")
    assert [point.speed_up.value for point in line.points] == [10.0, 11.0, 12.0]
    assert {line.label for line in found.lines} == {
        "batched_2d",
        "in_place",
    }  # without the control and what has no time


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"cpu_model": "Abacus 4000"}, "processor Abacus 4000"),
        ({"python": "3.13.0"}, "Python 3.13.0"),
        ({"versions": {"numpy": "2.5.0"}}, "numpy 2.5.0"),
        ({"versions": {}}, "numpy missing"),
        ({"versions": {"scipy": "1.17", "numpy": "2.5.0", "jax": "0.6"}}, "jax 0.6, numpy 2.5.0, scipy 1.17"),
        (
            {"cpu_model": "", "usable_cpus": 4, "numpy_blas": "MKL 2026", "python": "3.13.0"},
            "processor unknown, CPUs 4, BLAS MKL 2026, Python 3.13.0",
        ),
    ],
)
def test_another_machine_or_version_begins_a_new_stretch(machine: dict[str, Any], words: str) -> None:
    found = history([run(1), run(2), run(3, **machine), run(4, **machine)])
    assert [(stretch.date[:10], stretch.changed) for stretch in found.stretches] == [
        ("2026-02-01", ""),
        ("2026-02-03", words),
    ]
    assert [len(stretch) for stretch in found.lines[0].stretches] == [2, 2]
    assert [point.stretch for point in found.lines[0].points] == [0, 0, 1, 1]


def test_other_data_begin_a_new_stretch() -> None:
    other = run(2, python="3.13.0")
    other.data = "mnist"
    assert [stretch.changed for stretch in history([run(1), other]).stretches] == ["", "Python 3.13.0, data mnist"]


def test_a_bar_for_each_run_and_a_break_between_stretches() -> None:
    def line(*of: tuple[float, int]) -> Line:
        return Line("book", "in_place", [Point(str(n), Estimate(value), at) for n, (value, at) in enumerate(of)])

    assert bars(line((1.0, 0), (2.0, 0), (1.5, 1))) == "▁█|▅"
    assert bars(line((3.0, 0))) == "▁"


def test_the_command_prints_a_line_a_row_and_draws_it(tmp_path: Path) -> None:
    write(tmp_path, run(1), run(2, 12.0), run(3, python="3.13.0"))
    done = CliRunner().invoke(show_history, [str(tmp_path)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[:2] == [
        "3 runs; speed-up over the baseline, first and latest",
        "| from 2026-02-03T12:00: Python 3.13.0",
    ]
    assert lines[3].split() == ["book", "in_place", "10.0", "±", "0.2", "10.0", "±", "0.2", "▁█|▁"]
    assert (tmp_path / "history.svg").stat().st_size > 1000


def test_each_row_and_workload_has_a_chart_with_its_intervals() -> None:
    figure = history_plot(history([run(1), run(2, 12.0), run(3, python="3.13.0")]))
    assert len(figure.axes) == 2
    chart = next(axes for axes in figure.axes if any("in_place" in text.get_text() for text in axes.texts))
    curves = [line for line in chart.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in curves] == [[10.0, 12.0], [10.0]]  # type: ignore[arg-type]
    intervals = [list(line.get_ydata()) for line in chart.lines if list(line.get_xdata()) == [1, 1]]  # type: ignore[arg-type]
    assert intervals == [pytest.approx([11.76, 12.24])]


def test_the_order_is_that_of_the_moments_whatever_their_time_zones() -> None:
    first, second = run(1, 10.0), run(2, 12.0)
    first.date, second.date = "2026-02-02T00:30:00+02:00", "2026-02-01T23:30:00+00:00"
    found = history([second, first])
    assert [point.speed_up.value for point in found.lines[1].points] == [10.0, 12.0]
    chart = history_plot(found).axes[1]
    (curve,) = (line for line in chart.lines if line.get_marker() == "o")
    assert list(curve.get_ydata()) == [10.0, 12.0]  # type: ignore[arg-type]
    assert list(curve.get_xdata()) == [0, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(("days", "words"), [((1,), "in 1 run; make one"), ((1, 2), "in 2 runs; make one")])
def test_runs_without_a_speed_up_are_told(tmp_path: Path, days: tuple[int, ...], words: str) -> None:
    """As after an early Ctrl-C: nothing is drawn, in the given folder or beside the runs."""
    for day in days:
        results = run(day)
        results.rows = results.rows[:1]
        write(tmp_path, results)
    with pytest.raises(UserError) as told:
        CliRunner().invoke(show_history, [str(tmp_path)], catch_exceptions=False)
    assert "expected runs that timed the baseline and another row, found no speed-up" in str(told.value)
    assert words in str(told.value)
    assert not list(tmp_path.glob("history.*"))


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="expected folders of runs, found none; make some with"):
            runs_of([path])


def test_what_is_no_run_is_skipped_with_a_line(tmp_path: Path) -> None:
    write(tmp_path, run(1), run(2))
    foreign = {"a": "{}", "b": "{", "c": '{"machine_info": {}, "benchmarks": []}', "d": "", "e": "[]"}
    for name, content in foreign.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(content)
    done = CliRunner().invoke(show_history, [str(tmp_path)], catch_exceptions=False)
    assert "2 runs; speed-up over the baseline" in done.stdout
    skipped = [line.removeprefix(f"skipped: {tmp_path}/") for line in done.stderr.splitlines()]
    assert skipped[0].startswith("a/results.json: not a results file of backprop-bench: expected the key")
    assert skipped[1].startswith("b/results.json: not JSON, or truncated: ")
    assert skipped[2].startswith("c/results.json: not a results file of backprop-bench, but a run of pytest-benchmark")
    assert skipped[3:] == ["skipped: 2 more files"]


def test_a_folder_with_foreign_files_alone_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text("{}")
    words = r"a/results\.json: not a results file .* number \(and 1 more file that is no run, either\)"
    with pytest.raises(UserError, match=words):
        runs_of([tmp_path])


@pytest.mark.parametrize("given", [".benchmarks", ".benchmarks/Linux", ".benchmarks/Linux/0001_ours.json"])
def test_runs_that_pytest_benchmark_stored_are_found(tmp_path: Path, given: str) -> None:
    stored = tmp_path / ".benchmarks" / "Linux"
    stored.mkdir(parents=True)
    (stored / "0001_ours.json").write_text(json.dumps({Results.KEY: to_builtins(run(1))}))
    (stored / "0002_theirs.json").write_text('{"machine_info": {}, "benchmarks": []}')
    found = runs_of([tmp_path / given])
    assert [results.date[:10] for results in found.results] == ["2026-02-01"]
    assert len(found.skipped) == (not given.endswith(".json"))


def test_files_are_runs_too_and_each_counts_once(tmp_path: Path) -> None:
    write(tmp_path, run(1), run(2))
    files = sorted(tmp_path.glob("*/results.json"))
    assert [results.date[:10] for results in runs_of([files[1], files[0], files[1]]).results] == [
        "2026-02-02",
        "2026-02-01",
    ]
    done = CliRunner().invoke(show_history, [str(files[0])], catch_exceptions=False)
    assert f"plot: {files[0].with_name('history.svg')}" in done.stdout
