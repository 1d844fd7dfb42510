"""`backprop compare`: what is printed, and how a gate ends."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from made_up_results import made_up_results

from bench.analysis.compare_runs import compare_runs
from bench.analysis.results_files import to_builtins
from bench.analysis.verdict import INCONCLUSIVE, SLOWER
from bench.cli.compare import compare
from bench.output.changes import markdown
from bench.records import Process, Results, Sample
from impls.support.errors import UserError


def run(seed: int, slower: float = 1.0, apart: float = 0.004, **machine: str) -> Results:
    """Return a run whose in_place takes so many times as long; other seeds are other runs of the same code."""
    results, rng = made_up_results(), np.random.default_rng(seed)
    results.date = f"2026-02-0{seed}T12:00:00+01:00"
    for result, factor in zip(results.rows[:4], (1.0, 1.0, 1.0, slower), strict=True):
        result.seconds = (result.seconds or 0.0) * factor
        seconds = (result.seconds * np.exp(rng.normal(0, apart, 10))).tolist()
        result.processes = [Process(number, 1, samples=[Sample(0, value)]) for number, value in enumerate(seconds)]
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
        (run(2, apart=0.1), ("--fail-on=5%", "--strict"), 4),
        (run(2, cpu_model="Abacus 4000"), ("--fail-on=5%",), 5),
        (run(2), ("--fail-on=5",), 2),
        (run(2), ("--between=in_place,batched_2d", "--json"), 2),
    ],
)
def test_how_a_gate_ends(compared: Callable[..., Result], new: Results, options: tuple[str, ...], status: int) -> None:
    result = compared(run(1), new, *options)
    assert (2 if isinstance(result.exception, UserError) else result.exit_code) == status, result.output


def test_a_larger_floor_makes_intervals_wider(compared: Callable[..., Result]) -> None:
    for floor, verdict in (("0.4%", SLOWER), ("20%", INCONCLUSIVE)):
        comparison = json.loads(compared(run(1), run(2, slower=1.1), "--json", f"--floor={floor}").output)
        assert [change["verdict"] for change in comparison["changes"] if change["label"] == "in_place"] == [verdict]
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
    for results in (old, new):
        results.rows[3] = msgspec.structs.replace(results.rows[3], label="a|b <script>`*x*`")
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
    files = [write(run(number, cpu_model=model), tmp_path / f"{number}.json") for number, model in enumerate(models, 1)]
    lines = CliRunner().invoke(compare, files).output.splitlines()
    assert all(model in lines[0] for model in models)
    assert lines[4].split()[:2] == ["book", "in_place"]
