"""`backprop compare`: what is printed, how a gate ends, and which samples of two implementations count."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from made_up_results import BOOK, made_up_results, row, workload_result

from bench.analysis.compare_implementations import RowComparison, compare_rows
from bench.analysis.compare_runs import compare_runs
from bench.analysis.estimates import paired_ratio
from bench.analysis.results_files import to_builtins
from bench.analysis.verdict import CANT_TELL, SLOWER
from bench.cli.compare import compare
from bench.output.changes import markdown
from bench.records import Estimate, Outcome, Process, Results, Sample
from impls.support.errors import UserError


def sampled(*seconds: float, rounds: int = 5) -> list[Process]:
    """Return a process for each of these times."""
    return [Process(n, 1, samples=[Sample(r, each) for r in range(rounds)]) for n, each in enumerate(seconds)]


def run(seed: int, slower: float = 1.0, apart: float = 0.004, **machine: str) -> Results:
    """Return a run whose row in_place takes so many times as long; other seeds are other runs of the same code."""
    results, rng = made_up_results(), np.random.default_rng(seed)
    results.date = f"2026-02-0{1 + seed % 9}T12:00:00+01:00"
    for each, factor in zip(results.rows[:4], (1.0, 1.0, 1.0, slower), strict=True):
        each.seconds = (each.seconds or 0.0) * factor
        each.processes = sampled(*(each.seconds * np.exp(rng.normal(0, apart, 10))).tolist())
    results.machine = msgspec.structs.replace(results.machine, **machine)
    return results


def write(results: Results, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({Results.KEY: to_builtins(results)}))
    return str(path)


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs `backprop compare` on two runs, a folder and a file."""

    def call(old: Results, new: Results, *options: str) -> Result:
        write(old, tmp_path / "old" / "results.json")
        files = [str(tmp_path / "old"), write(new, tmp_path / "new.json")]
        return CliRunner().invoke(compare, [*files, *options])

    return call


# --- Two runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "options", "status"),
    [
        (run(2), ("--fail-on=5%",), 0),
        (run(2, slower=1.1), ("--fail-on=5%",), 3),
        (run(2, slower=1.1), ("--fail-on=20%",), 0),
        (run(2, slower=1.1), (), 0),  # no gate was asked for
        (run(2, apart=0.1), ("--fail-on=5%",), 0),
        (run(2, apart=0.1), ("--fail-on=5%", "--strict"), 4),
        (run(2, cpu_model="Abacus 4000"), ("--fail-on=5%",), 5),
        (run(2), ("--fail-on=5",), 2),
        (run(2), ("--between=in_place,batched_2d",), 2),
        (run(2), ("--between=in_place,batched_2d", "--json"), 2),
    ],
)
def test_how_a_gate_ends(compared: Callable[..., Result], new: Results, options: tuple[str, ...], status: int) -> None:
    result = compared(run(1), new, *options)
    assert (2 if isinstance(result.exception, UserError) else result.exit_code) == status, result.output


def test_a_larger_floor_makes_intervals_wider(compared: Callable[..., Result]) -> None:
    verdicts = []
    for floor in ((), ("--floor=0.4%",), ("--floor=20%",)):
        changes = json.loads(compared(run(1), run(2, slower=1.1), "--json", *floor).output)["changes"]
        verdicts += [each["verdict"] for each in changes if each["label"] == "in_place"]
    assert verdicts == [SLOWER, SLOWER, CANT_TELL]
    error = compared(run(1), run(2), "--floor=results").exception
    assert str(error) == "--floor: expected a percentage above 0 %, as 5%, found 'results'"


def test_what_is_printed(compared: Callable[..., Result]) -> None:
    lines = compared(run(1), run(2, slower=1.1)).output.splitlines()
    assert lines[0].split() == ["workload", "row", "verdict", "new", "/", "old", "time", "old", "new"]
    assert re.fullmatch(r"book +in_place +slower +1\.1\d* \(1\.0\d+ to 1\.1\d+\) +40\.0 µs +44\.0 µs", lines[1])
    assert lines[2:] == ["3 rows: 1 slower, 2 same; changes within ± 3 % count as unchanged."]
    assert len(compared(run(1), run(2, slower=1.1), "--all").output.splitlines()) == 5


def test_names_stay_text_in_markdown(compared: Callable[..., Result]) -> None:
    table = compared(run(1), run(2, slower=1.1), "--markdown").output.splitlines()
    assert table[2].startswith("| book | in\\_place | slower | 1.1")
    old, new = run(1), run(2, slower=1.1)
    for each in (old, new):
        each.rows[3] = msgspec.structs.replace(each.rows[3], label="a|b <script>`*x*`")
    assert "| a\\|b \\<script\\>\\`\\*x\\*\\` |" in markdown(compare_runs(old, new))


def test_without_arguments_the_latest_two_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="expected two runs to compare, found 0"):
        CliRunner().invoke(compare, [], catch_exceptions=False)
    for name, results in (("2026-01-01", run(3)), ("2026-01-02", run(1)), ("2026-01-03", run(2, slower=1.1))):
        write(results, Path("results/runs") / name / "results.json")
    assert CliRunner().invoke(compare, ["--fail-on=5%"]).exit_code == 3


def test_runs_of_several_machines_stand_side_by_side(compared: Callable[..., Result], tmp_path: Path) -> None:
    done = compared(run(1), run(2, cpu_model="Abacus 4000"))
    first, head, *rows = done.output.splitlines()
    assert first == "not compared: processor: Abacus 3000 before, Abacus 4000 now"
    assert head.split()[:4] == ["workload", "row", "Abacus", "3000,"]
    assert len(rows) == 5
    models = ("Abacus 3000", "Abacus 4000", "Slide rule")
    files = [write(run(number, cpu_model=model), tmp_path / f"{number}.json") for number, model in enumerate(models)]
    lines = CliRunner().invoke(compare, files).output.splitlines()
    assert all(model in lines[0] for model in models)
    assert lines[4].split()[:2] == ["book", "in_place"]


# --- Two implementations of one run ------------------------------------------------------------------------------


def test_the_ratio_is_paired_on_every_workload_that_has_both() -> None:
    results = made_up_results()
    results.workloads += [workload_result(msgspec.structs.replace(BOOK, name=name)) for name in ("deep", "wide")]
    results.rows += [
        row("in_place", 1.0, workload="deep"),
        row("batched_2d", 1.0, workload="wide", processes=sampled(3.0, 3.0, 3.0)),
        row("in_place", 1.0, workload="wide", processes=sampled(1.5, 1.5, rounds=4)),
    ]
    comparisons = compare_rows(results, "batched_2d", "in_place")
    assert list(comparisons) == ["book", "wide"]
    assert comparisons["wide"] == RowComparison(Estimate(2.0, 2.0, 2.0), processes=2, rounds=4)
    assert comparisons["book"].ratio.value == pytest.approx(1.25)


def test_a_run_with_a_precision_has_the_wider_interval_that_it_stopped_by() -> None:
    results = made_up_results()
    results.rows[3].processes = sampled(*(1.0 + 0.01 * (-1) ** n for n in range(12)))
    results.rows[2].processes = sampled(*[2.0] * 12)
    slow, fast = results.rows[2].samples, results.rows[3].samples
    assert compare_rows(results, "batched_2d", "in_place")["book"].ratio == paired_ratio(slow, fast)
    results.settings = msgspec.structs.replace(results.settings, precision=0.01)
    assert compare_rows(results, "batched_2d", "in_place")["book"].ratio == paired_ratio(slow, fast, 0.96)


@pytest.mark.parametrize(
    ("label", "outcome", "counts"),
    [
        ("per_example", Outcome.CRASHED, True),
        ("per_example", Outcome.TIMED_OUT, True),
        ("per_example", Outcome.INCORRECT_AFTER_TIMING, False),
        ("batched_2d", Outcome.CRASHED, False),
    ],
)
def test_samples_of_a_baseline_that_was_right_until_it_failed_count(label: str, outcome: Outcome, counts: bool) -> None:
    results = made_up_results()
    failed = next(each for each in results.rows if each.label == label)
    failed.outcome, failed.seconds = outcome, None
    if counts:
        assert list(compare_rows(results, label, "in_place")) == ["book"]
    else:
        with pytest.raises(UserError, match=f"no workload has both '{label}' and 'in_place'; expected two of those"):
            compare_rows(results, label, "in_place")


def test_what_is_not_there_or_was_never_sampled_together_cannot_be_compared() -> None:
    results = made_up_results()
    for slow, fast in (("nothing", "in_place"), ("in_place", "nothing"), ("torch", "in_place")):
        with pytest.raises(UserError, match="that were timed: per_example, control, batched_2d, in_place"):
            compare_rows(results, slow, fast)
    results.rows[3].processes = [Process(0, 1, samples=[Sample(99, 1.0)])]
    with pytest.raises(UserError, match="no workload has both"):
        compare_rows(results, "batched_2d", "in_place")
