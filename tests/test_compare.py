"""Two runs compared: what is said of each row, how sure that is, and how a gate ends."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from made_up_results import BOOK, made_up_results, row, workload_result

from bench.commands.compare import compare
from bench.records import Estimate, Outcome, Process, Results, Row, Sample
from bench.report.changes import markdown
from bench.results.compare_runs import Comparison, compare_runs
from bench.results.files import to_builtins
from bench.results.limits import percent
from bench.results.limits import read as read_limits
from bench.results.verdict import (
    CANT_TELL,
    FASTER,
    FLOOR,
    SAME,
    SLOWER,
    change,
    measured_floor,
    verdict,
)
from impls.errors import UserError

RUNS = 2000
PROCESSES = 10


def noisy(seconds: float, rng: np.random.Generator, apart: float = 0.01) -> list[Process]:
    """Return processes that differ by so much, each with samples that are alike."""
    found = seconds * np.exp(rng.normal(0, apart, PROCESSES))
    return [Process(number, 1, samples=[Sample(r, float(each)) for r in range(5)]) for number, each in enumerate(found)]


def run(seed: int, slower: float = 1.0, **machine: str) -> Results:
    """Return a run whose row in_place takes so many times as long; other seeds are other runs of the same code."""
    results, rng = made_up_results(), np.random.default_rng(seed)
    results.date = f"2026-02-0{1 + seed % 9}T12:00:00+01:00"
    for each, factor in zip(results.rows[:4], (1.0, 1.0, 1.0, slower), strict=True):
        each.processes = noisy((each.seconds or 0.0) * factor, rng, 0.004)
        each.seconds = (each.seconds or 0.0) * factor
    results.machine = msgspec.structs.replace(results.machine, **machine)
    return results


def found(comparison: Comparison, label: str) -> str:
    (word,) = (each.verdict for each in comparison.changes if each.label == label)
    return word


# --- Statistics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "value", "high", "word"),
    [
        (0.99, 1.00, 1.01, SAME),
        (1.005, 1.01, 1.02, SAME),  # surely slower, and surely by nothing that matters
        (1.01, 1.05, 1.09, SLOWER),
        (1.01, 1.025, 1.04, CANT_TELL),  # more than 3 %, or less
        (0.99, 1.05, 1.11, CANT_TELL),
        (0.90, 0.93, 0.96, FASTER),
        (0.90, 1.00, 1.10, CANT_TELL),
    ],
)
def test_one_interval_and_the_margin_give_one_word(low: float, value: float, high: float, word: str) -> None:
    assert verdict(Estimate(value, low, high), 0.03) == word
    assert verdict(None, 0.03) == verdict(Estimate(value), 0.03) == CANT_TELL


def drawn(rng: np.random.Generator, slower: float, apart: float = 0.013) -> tuple[list[float], list[float]]:
    """Return the logarithms of two runs that differ by the floor, and by `slower`."""
    runs = rng.normal(0, FLOOR, 2)
    old, new = (rng.normal(mean, apart, PROCESSES).tolist() for mean in runs)
    return old, [value + float(np.log(slower)) for value in new]


def words(slower: float, limit: float, intervals: int = 50) -> list[str]:
    rng = np.random.default_rng(int(1000 * slower))
    changes = (change(*drawn(rng, slower), intervals=intervals) for _ in range(RUNS))
    return [verdict(each.ratio if each else None, limit) for each in changes]


def test_the_interval_of_a_change_holds_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = [change(*drawn(rng, 1.07)) for _ in range(RUNS)]
    assert 0.93 <= np.mean([each is not None and each.ratio.holds(1.07) for each in held]) <= 0.97


def test_intervals_of_a_gate_hold_together() -> None:
    rng = np.random.default_rng(2)
    missed = [
        sum(not each.ratio.holds(1.0) for _ in range(20) if (each := change(*drawn(rng, 1.0), intervals=20)))
        for _ in range(RUNS // 10)
    ]
    assert np.mean([bool(count) for count in missed]) <= 0.09


def test_a_gate_lets_unchanged_code_pass_and_finds_what_is_slower() -> None:
    """Fifty rows in a gate of 5 %, processes 1.3 % apart."""
    assert words(1.0, 0.05).count(SLOWER) == 0
    assert words(1.07, 0.05).count(SLOWER) > 0.95 * RUNS
    assert words(1.10, 0.05).count(SLOWER) == RUNS


def test_a_process_alone_tells_nothing() -> None:
    assert change([0.1], [0.1, 0.2]) is None


def test_the_floor_is_what_processes_do_not_explain() -> None:
    rng = np.random.default_rng(3)

    def runs(between: float) -> list[Results]:
        made = []
        for _ in range(60):
            results, shift = made_up_results(), np.exp(rng.normal(0, between))
            for each, factor in zip(results.rows[:4], (1.0, 1.0, shift, shift), strict=True):
                each.processes = noisy((each.seconds or 0.0) * factor, rng, 0.005)
            made.append(results)
        return made

    assert measured_floor(runs(0.01)) == pytest.approx(0.01, rel=0.3)
    assert measured_floor(runs(0.0)) < 0.002
    with pytest.raises(ValueError, match="at least 3 runs"):
        measured_floor(runs(0.0)[:2])


# --- Runs --------------------------------------------------------------------------------------------------------


def test_rows_are_compared_over_the_baseline_and_the_baseline_over_the_peak() -> None:
    comparison = compare_runs(run(1), run(2, slower=1.1))
    assert {each.label: each.over for each in comparison.changes} == {
        "per_example": "the peak", "batched_2d": "per_example", "in_place": "per_example"
    }  # fmt: skip
    assert comparison.changes[0].label == "in_place"  # the clearest first
    assert found(comparison, "in_place") == SLOWER
    assert found(comparison, "batched_2d") == SAME
    change = comparison.changes[0].change
    assert change is not None
    assert change.ratio.value == pytest.approx(1.1, rel=0.01)
    assert [each.label for each in comparison.failed] == ["in_place"]
    assert found(compare_runs(run(1), run(2, slower=0.9)), "in_place") == FASTER


def test_a_peak_of_more_operations_a_call_changes_nothing() -> None:
    old, new = run(1), run(1)
    peak = new.workloads[0].peak
    assert peak is not None
    peak.flops *= 2
    for process in peak.processes:
        process.samples = [Sample(s.round, 2 * s.seconds, s.cpu_seconds) for s in process.samples]
    baseline = next(each for each in compare_runs(old, new).changes if each.over == "the peak")
    assert baseline.change is not None
    assert baseline.change.ratio.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"cpu_model": "Abacus 4000"}, "processor: Abacus 3000 before, Abacus 4000 now"),
        ({"numpy_blas": "MKL 2026"}, "NumPy's BLAS: OpenBLAS 0.3.31 before, MKL 2026 now"),
    ],
)
def test_another_machine_is_said_and_nothing_else(machine: dict[str, str], words: str) -> None:
    comparison = compare_runs(run(1), run(2, slower=2.0, **machine))
    assert comparison.incomparable == [words]
    assert comparison.changes == []


def test_runs_of_two_machines_stand_side_by_side(compared: Callable[..., Result]) -> None:
    done = compared(run(1), run(2, cpu_model="Abacus 4000"))
    assert done.exit_code == 5
    first, head, *rows = done.output.splitlines()
    assert first == "not compared: processor: Abacus 3000 before, Abacus 4000 now"
    assert head.split()[:4] == ["workload", "row", "Abacus", "3000,"]
    assert len(rows) == 5


def test_another_workload_of_the_same_name_is_not_compared() -> None:
    new = run(2)
    new.workloads[0] = workload_result(msgspec.structs.replace(BOOK, batch_size=20))
    comparison = compare_runs(run(1), new)
    assert comparison.changes == []
    assert comparison.workloads[0].startswith("book: 784-30-10, batch 10, float64, 1 thread, step, 10 examples before;")


def test_a_row_with_another_blas_is_not_compared() -> None:
    new = run(2, slower=2.0)
    new.rows[3].thread_pools = [msgspec.structs.replace(new.rows[3].thread_pools[0], version="0.4")]
    (in_place,) = (each for each in compare_runs(run(1), new).changes if each.label == "in_place")
    assert (in_place.verdict, in_place.reason) == (CANT_TELL, "openblas 0.3.31 before, openblas 0.4 now")


def test_new_and_vanished_and_broken_rows_are_named() -> None:
    old, new = run(1), run(2)
    new.rows[2] = Row("book", "batched_2d", "batched_2d", 1, Outcome.INCORRECT_AFTER_TIMING, "weights[0]: error 1")
    new.rows[3] = msgspec.structs.replace(new.rows[3], label="better")
    comparison = compare_runs(old, new)
    assert (comparison.appeared, comparison.vanished) == (["better"], ["in_place"])
    assert [(each.label, each.verdict) for each in comparison.failed] == [
        ("batched_2d", Outcome.INCORRECT_AFTER_TIMING)
    ]


def test_a_workload_that_only_one_run_has_is_named_once() -> None:
    old = run(1)
    old.workloads.append(workload_result(msgspec.structs.replace(BOOK, name="wide")))
    old.rows += [row("per_example", 4e-4, workload="wide"), row("in_place", 4e-5, 10.0, workload="wide")]
    assert compare_runs(old, run(2)).vanished == ["workload wide"]
    assert compare_runs(run(2), old).appeared == ["workload wide"]


def no_longer_timed(outcome: Outcome, reason: str) -> Results:
    new = run(2)
    new.rows[3] = Row("book", "in_place", "in_place", 1, outcome, reason)
    return new


def test_a_row_over_the_budget_fails_a_gate_unless_the_budget_is_less_now() -> None:
    """A row that became a thousand times as slow is not timed any more."""
    new = no_longer_timed(Outcome.TOO_SLOW, "at least 0.4 s per call, over the budget of 0.1 s")
    assert [(each.label, each.verdict) for each in compare_runs(run(1), new).failed] == [("in_place", Outcome.TOO_SLOW)]
    new.settings = msgspec.structs.replace(new.settings, budget_seconds=new.settings.budget_seconds / 10)
    comparison = compare_runs(run(1), new)
    assert (comparison.failed, found(comparison, "in_place")) == ([], CANT_TELL)


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.INTERRUPTED])
def test_a_row_that_could_not_be_timed_this_time_cannot_be_told(outcome: Outcome) -> None:
    comparison = compare_runs(run(1), no_longer_timed(outcome, "for some reason"), gate=True)
    assert [(each.label, each.reason) for each in comparison.unclear] == [("in_place", f"{outcome}: for some reason")]
    assert comparison.failed == []


def test_what_else_differs_is_a_remark() -> None:
    new = run(2, python="3.13.0")
    assert new.workloads[0].peak is not None
    new.workloads[0].peak.flops_per_second = 1.2 * (new.workloads[0].peak.flops_per_second or 0.0)
    remarks = compare_runs(run(1), new).remarks
    assert remarks == [
        "Python 3.11.7 before, 3.13.0 now",
        "book: the peak is 1.20 times what it was: another clock rate",
    ]


# --- Limits ------------------------------------------------------------------------------------------------------


def test_a_limits_file_is_utf8_whatever_the_system_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(path: Path, encoding: str = "ascii") -> str:
        return path.read_bytes().decode(encoding)

    monkeypatch.setattr(Path, "read_text", read_text)
    path = tmp_path / "limits.toml"
    path.write_text("fail-on = '5%'\n[rows]\n'schnäll' = '10%'\n", encoding="utf-8")
    assert read_limits(path).of("book", "schnäll") == pytest.approx(0.10)


def test_the_most_particular_limit_counts(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text('fail-on = "5%"\n[rows]\njax = "10 %"\n[workloads.book]\n"*" = "8%"\nin_place = "150%"\n')
    limits = read_limits(path)
    asked = [("book", "in_place"), ("book", "jax"), ("book", "torch"), ("wide", "jax"), ("wide", "torch")]
    assert [limits.of(*each) for each in asked] == pytest.approx([1.5, 0.10, 0.08, 0.10, 0.05])
    assert percent("10000%", "the largest") == 100.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fail-on = ", "not a limits file"),
        ("fail-on = 5", "not a limits file"),
        ("fail_on = '5%'", "not a limits file"),
        ("fail-on = '5'", "fail-on: expected a percentage above 0 %, as 5%, found '5'"),
        ("[rows]\njax = '-1%'", "limit of jax: expected a percentage"),
        ("[workloads.book]\njax = 'nan%'", "limit of jax on book: expected a percentage"),
        ("[rows]\njax = 'some%'", "limit of jax: expected a percentage"),
        ("[rows]\njax = '5%'\ntorch = '0%'", "limit of torch: expected a percentage"),
        ("fail-on = '10001%'", "fail-on: expected a percentage"),
        ("fail-on = '٣%'", "fail-on: expected a percentage"),
        ("fail-on = '1_0%'", "fail-on: expected a percentage"),
        ("[rows]\njax = '5%\u00a0'", "limit of jax: expected a percentage"),
    ],
)
def test_a_bad_limits_file_is_told_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_limits(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_limits(tmp_path / "none.toml")


# --- The command -------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs `backprop compare` on two runs."""

    def call(old: Results, new: Results, *options: str) -> Result:
        paths = []
        for name, results in (("old", old), ("new", new)):
            paths.append(tmp_path / name / "results.json")
            paths[-1].parent.mkdir(exist_ok=True)
            paths[-1].write_text(json.dumps({Results.KEY: to_builtins(results)}))
        return CliRunner().invoke(compare, [str(paths[0].parent), str(paths[1]), *options])

    return call


def test_how_a_gate_ends(compared: Callable[..., Result]) -> None:
    unclear = run(2)
    unclear.rows[3].processes = noisy(4e-5, np.random.default_rng(0), 0.1)
    for new, options, status in (
        (run(2), ("--fail-on=5%",), 0),
        (run(2, slower=1.1), ("--fail-on=5%",), 3),
        (run(2, slower=1.1), ("--fail-on=20%",), 0),
        (run(2, slower=1.1), (), 0),  # no gate was asked for
        (unclear, ("--fail-on=5%",), 0),
        (unclear, ("--fail-on=5%", "--strict"), 4),
        (run(2, cpu_model="Abacus 4000"), ("--fail-on=5%",), 5),
        (run(2), ("--fail-on=5",), 2),
    ):
        result = compared(run(1), new, *options)
        ended = 2 if isinstance(result.exception, UserError) else result.exit_code
        assert ended == status, (options, result.output)


def test_a_larger_floor_makes_intervals_wider(compared: Callable[..., Result]) -> None:
    old, new = run(1), run(2, slower=1.1)
    verdicts = [
        {each["label"]: each["verdict"] for each in json.loads(compared(old, new, "--json", *floor).output)["changes"]}
        for floor in ((), ("--floor=0.4%",), ("--floor=20%",))
    ]
    assert [found["in_place"] for found in verdicts] == [SLOWER, SLOWER, CANT_TELL]
    for bad in ("", "results"):
        error = compared(old, new, f"--floor={bad}").exception
        assert str(error) == f"--floor: expected a percentage above 0 %, as 5%, found {bad!r}"


def test_what_is_printed(compared: Callable[..., Result]) -> None:
    lines = compared(run(1), run(2, slower=1.1)).output.splitlines()
    assert lines[0].split() == ["workload", "row", "verdict", "new", "/", "old", "time", "old", "new"]
    assert re.fullmatch(r"book +in_place +slower +1\.1\d* \(1\.0\d+ to 1\.1\d+\) +40\.0 µs +44\.0 µs", lines[1])
    assert lines[2:] == ["3 rows: 1 slower, 2 same; a change within 3 % is none."]
    assert len(compared(run(1), run(2, slower=1.1), "--all").output.splitlines()) == 5


def test_other_programs_read_json_and_markdown(compared: Callable[..., Result]) -> None:
    read = json.loads(compared(run(1), run(2, slower=1.1), "--json").output)
    assert read["changes"][0]["label"] == "in_place"
    assert read["changes"][0]["verdict"] == "slower"
    table = compared(run(1), run(2, slower=1.1), "--markdown").output.splitlines()
    assert table[2].startswith("| book | in\\_place | slower | 1.1")


def test_hostile_names_stay_text_in_markdown() -> None:
    old, new = run(1), run(2, slower=1.1)
    for each in (old, new):
        each.rows[3] = msgspec.structs.replace(each.rows[3], label="a|b <script>`*x*`")
    assert "| a\\|b \\<script\\>\\`\\*x\\*\\` |" in markdown(compare_runs(old, new))


def test_the_latest_two_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="expected two runs to compare, found 0"):
        CliRunner().invoke(compare, [], catch_exceptions=False)
    for name, results in (("2026-01-01", run(3)), ("2026-01-02", run(1)), ("2026-01-03", run(2, slower=1.1))):
        folder = Path("results/runs") / name
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({Results.KEY: to_builtins(results)}))
    assert CliRunner().invoke(compare, ["--fail-on=5%"]).exit_code == 3


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    paths = []
    for number, model in enumerate(("Abacus 3000", "Abacus 4000", "Slide rule")):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps({Results.KEY: to_builtins(run(number + 1, cpu_model=model))}))
    out = CliRunner().invoke(compare, list(map(str, paths))).output
    assert all(model in out.splitlines()[0] for model in ("Abacus 3000", "Abacus 4000", "Slide rule"))
    assert out.splitlines()[4].split()[:2] == ["book", "in_place"]
    assert row("x", 1.0).outcome == Outcome.OK
