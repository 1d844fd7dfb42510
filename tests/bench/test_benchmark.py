"""The main job as a user runs it: pytest and `backprop bench` in processes of their own, on small workloads."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import workers_of

from bench.analysis.results_files import read
from bench.output.table import NOTES
from bench.records import Result
from impls import ROOT

PROGRAMS = Path(sys.executable).parent
BACKPROP = PROGRAMS / "backprop"
FAULTY = ROOT / "tests" / "support" / "faulty_rows.py"
QUICK = ("--workload=20-8-4:4", "--generations=2", "--seconds=0.2", "--data=digits")
FILES = {"results.json", "speedups.md", "report.html", "speedups.png", "peak.png"}
Done = subprocess.CompletedProcess[str]
slow = pytest.mark.slow("runs benchmarks")


def run(*command: str | Path, cwd: Path = ROOT) -> Done:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def run_pytest(*arguments: str, place: str = "bench/", cwd: Path = ROOT) -> Done:
    """Run `pytest bench/` from the root of the checkout."""
    return run(sys.executable, "-m", "pytest", place, "-p", "no:cacheprovider", *QUICK, *arguments, cwd=cwd)


def bench(folder: Path, *options: str) -> Done:
    """Run `backprop bench` on a small workload."""
    return run(BACKPROP, "bench", *QUICK, f"--results={folder}", *options)


def results_in(folder: Path) -> dict[str, Result]:
    return {result.label: result for result in read(folder / "results.json").rows}


def words_of(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


# --- A whole run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """Return a finished `pytest bench/` with faulty implementations among others, and its results folder."""
    folder = tmp_path_factory.mktemp("finished")
    implementations = ("--impl=in_place", f"--impl={FAULTY}:Segfaults", f"--impl={FAULTY}:Raises")
    storage = ("--benchmark-autosave", f"--benchmark-storage={folder / 'storage'}")
    return run_pytest("--benchmark-only", *implementations, f"--results={folder}", *storage), folder


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """Return a finished `backprop bench` of four workloads with a faulty implementation, and its results folder."""
    folder = tmp_path_factory.mktemp("brief")
    workloads = [f"--workload=20-8-4:{batch_size}" for batch_size in (1, 2, 3)]
    options = ("--generations=1", "--impl=in_place", f"--impl={FAULTY}:Raises", "--benchmark-min-rounds=5")
    return bench(folder, *workloads, *options), folder


@slow
def test_a_run_prints_both_tables_and_the_paths(finished: tuple[Done, Path]) -> None:
    done, folder = finished
    assert "test_speed[20-8-4:4-in_place]" in done.stdout
    assert "Legend:" in done.stdout  # of pytest-benchmark's table
    assert "speed-ups over per_example; peak" in words_of(done.stdout)
    for name in FILES:
        assert str(folder / name) in done.stdout
        assert (folder / name).stat().st_size > 0
    assert {path.name for path in folder.iterdir()} == {*FILES, "storage"}
    assert "process 2 of 2" in done.stdout  # plain lines where there is no terminal


@slow
def test_a_faulty_implementation_fails_alone(finished: tuple[Done, Path]) -> None:
    done, folder = finished
    assert done.returncode == 1
    assert "2 failed, 3 passed" in done.stdout
    assert "crashed: the worker ended with SIGSEGV" in done.stdout
    assert f'Traceback (most recent call last):\n  File "{FAULTY}", line ' in done.stdout
    assert "pytest_benchmark/" not in done.stdout
    assert "fixture was not used" not in done.stdout
    outcomes = {label: result.outcome for label, result in results_in(folder).items()}
    ok = dict.fromkeys(("per_example", "control", "in_place"), "ok")
    assert outcomes == ok | {"Segfaults": "crashed", "Raises": "crashed"}


@slow
def test_the_json_is_pytest_benchmarks_with_ours_in_it(finished: tuple[Done, Path]) -> None:
    _, folder = finished
    content = json.loads((folder / "results.json").read_text())
    tests = {benchmark["params"]["label"]: benchmark for benchmark in content["benchmarks"]}
    results = {result["label"]: result for result in content["backprop_bench"]["rows"] if result["outcome"] == "ok"}
    assert set(tests) == set(results)
    for label, test in tests.items():
        samples = [sample for process in results[label]["processes"] for sample in process["samples"]]
        assert test["name"] == f"test_speed[20-8-4:4-{label}]"
        assert test["stats"]["data"] == pytest.approx([seconds for _, seconds, _ in samples])
        assert test["options"]["timer"] == "backprop_bench_replay"
        assert all(cpu_seconds > 0 for _, _, cpu_seconds in samples)
    assert results["in_place"]["percent_of_peak"]["value"] > 0
    assert content["backprop_bench"]["schema"] == 4
    # The speed-up can be made again from the paired samples alone.
    ratios = []
    for baseline, fast in zip(results["per_example"]["processes"], results["in_place"]["processes"], strict=True):
        assert [sample[0] for sample in baseline["samples"]] == [sample[0] for sample in fast["samples"]]
        quartiles = [np.quantile([seconds for _, seconds, _ in p["samples"]], 0.25) for p in (baseline, fast)]
        ratios.append(quartiles[0] / quartiles[1])
    assert results["in_place"]["speed_up"]["value"] == pytest.approx((ratios[0] * ratios[1]) ** 0.5)


@slow
def test_pytest_benchmarks_storage_works_and_holds_the_same(finished: tuple[Done, Path], tmp_path: Path) -> None:
    _, folder = finished
    (saved,) = (folder / "storage").rglob("*.json")
    assert read(saved) == read(folder / "results.json")
    table = tmp_path / "table.csv"
    done = run(PROGRAMS / "pytest-benchmark", f"--storage={folder / 'storage'}", "compare", f"--csv={table}")
    assert "in_place" in done.stdout
    assert ",in_place," in table.read_text()


@slow
def test_plots_are_the_same_bytes_when_drawn_again(finished: tuple[Done, Path], tmp_path: Path) -> None:
    _, folder = finished
    assert run(BACKPROP, "plot", folder / "results.json", "--out", tmp_path).returncode == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {name for name in FILES if name.endswith("png")}
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@slow
def test_the_summary_of_backprop_bench_is_short_and_fits_80_columns(brief: tuple[Done, Path]) -> None:
    done, folder = brief
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines if str(folder) not in line) <= 80
    notes = [line for line in lines if line.startswith("note: ")]
    assert len([note for note in notes if "--benchmark-" not in note]) <= NOTES + 1  # and the failure
    assert len(lines) < 34 + 3 * (NOTES + 1)  # a note takes up to three
    assert len([line for line in lines if re.match("in_place (?!is)", line)]) == 1  # one table for all workloads
    assert "s left" in done.stdout
    words = words_of(done.stdout)
    assert "times as fast as per_example" in words
    assert "note: --benchmark-min-rounds: no effect here" in words
    assert "Raises: crashed: RuntimeError: the tensor was not there (faulty_rows.py:" in words
    for unwanted in ("test session starts", "Legend:", "Traceback", "\x1b["):
        assert unwanted not in done.stdout + (folder / "results.json").read_text()


@slow
def test_a_regression_ends_with_our_tables_and_status_1(finished: tuple[Done, Path], tmp_path: Path) -> None:
    """The stored run was a thousand times as fast."""
    shutil.copytree(finished[1] / "storage", tmp_path / "storage")
    (saved,) = (tmp_path / "storage").rglob("*.json")
    content = json.loads(saved.read_text())
    for test in content["benchmarks"]:
        test["stats"]["min"] /= 1000
    saved.write_text(json.dumps(content))
    failing = ("--benchmark-compare", "--benchmark-compare-fail=min:50%", f"--benchmark-storage={tmp_path}/storage")
    done = bench(tmp_path / "out", "--impl=in_place", *failing)
    assert done.returncode == 1
    assert "error: --benchmark-compare-fail: " in done.stdout
    assert "times as fast as per_example" in words_of(done.stdout)
    assert "results.json" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.alone
@slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known of other processes")
def test_other_processes_that_use_the_cpus_are_reported(tmp_path: Path) -> None:
    busy = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(busy) as first, subprocess.Popen(busy) as second:
        done = bench(tmp_path, "--impl=in_place", "--seconds=1")
        first.kill()
        second.kill()
    assert done.returncode == 0
    assert "CPUs busy during the run; calls take longer then, and implementations may" in words_of(done.stdout)


# --- What is selected --------------------------------------------------------------------------------------------


@slow
def test_a_single_test_by_its_name_keeps_the_baseline(tmp_path: Path) -> None:
    place = "bench/test_speed.py::test_speed[20-8-4:4-in_place]"
    done = run_pytest("--benchmark-only", f"--results={tmp_path}", place=place)
    assert "1 passed" in done.stdout, done.stdout
    assert "speed-ups over per_example" in done.stdout
    speed_ups = {label: result.speed_up for label, result in results_in(tmp_path).items()}
    assert {label: value is not None for label, value in speed_ups.items()} == {
        "per_example": False,
        "control": True,
        "in_place": True,
    }


@slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_a_run_without_a_folder_leaves_the_checkout_as_it_was(tmp_path: Path) -> None:
    git = ("git", "status", "--porcelain", "--untracked-files=all")
    before = run(*git).stdout
    done = run_pytest("--benchmark-only", "--impl=in_place", place=str(ROOT / "bench"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert run(*git).stdout == before
    (results,) = tmp_path.iterdir()
    (folder,) = (results / "runs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}", folder.name)
    assert f"results: results/runs/{folder.name}/results.json" in done.stdout
    names = FILES - {"results.json"}
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in results.iterdir()} == names | {"latest.json", "runs"}
    for name in names:
        assert (results / name).read_bytes() == (folder / name).read_bytes()
    assert (results / "latest.json").read_bytes() == (folder / "results.json").read_bytes()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_a_run_in_the_checkout_is_not_under_version_control() -> None:
    made = ["results/latest.json", "results/speedups.png", "results/runs/2026-01-31-120000/results.json"]
    kept = ["docs/new.md", "results/reference/default/results.json"]
    assert run("git", "check-ignore", *made, *kept).stdout.splitlines() == made


@slow
def test_disabled_checks_each_implementation_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    options = ("--impl=in_place", f"--impl={FAULTY}:Wrong", f"--results={folder}")
    done = run_pytest("--benchmark-disable", *options)
    assert done.returncode == 1
    assert "3 passed" in done.stdout
    assert "incorrect: every weight gradient is 2 times too small" in done.stdout
    assert not folder.exists()


@slow
def test_beside_other_tests_nothing_is_timed_unasked(tmp_path: Path) -> None:
    selected = ("-k", "operations or book-in_place", "--workload=book", f"--results={tmp_path / 'out'}")
    done = run_pytest("tests/bench/workloads/test_workloads.py", *selected)
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert (
        "nothing was timed: implementations are not timed beside other tests; to time them: pytest bench/"
        in done.stdout
    )
    assert not (tmp_path / "out").exists()
    done = run_pytest("tests/bench/workloads/test_workloads.py", *selected, "--benchmark-only")
    assert "3 passed, 1 skipped" in done.stdout, done.stdout  # with the baseline and its control; the test
    assert (tmp_path / "out" / "results.json").exists()


@slow
def test_tests_side_by_side_are_checked_and_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pytest-xdist pytest-benchmark times nothing, and neither do we: the processes would disturb each other."""
    folder = tmp_path / "results"
    done = run_pytest("-n", "2", "--impl=in_place", f"--impl={FAULTY}:Wrong", f"--results={folder}")
    assert done.returncode == 1
    assert "1 failed, 3 passed" in done.stdout
    assert (
        "nothing was timed: pytest-xdist runs tests side by side, which disturbs what is timed; add -n0" in done.stdout
    )
    monkeypatch.setenv("PYTEST_ADDOPTS", "-n auto")
    done = bench(folder, "--impl=in_place")
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: nothing can be timed: pytest-xdist runs tests side by side, which disturbs")
    assert done.stderr.endswith("add -n0 (PYTEST_ADDOPTS may hold another -n)\n\n")
    assert not folder.exists()
    assert bench(folder, "--impl=in_place", "-n0", "--co").returncode == 0


# --- Interrupted, killed -----------------------------------------------------------------------------------------

LONG = ("--impl=in_place", "--generations=50", "--seconds=25")


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_keeps_what_was_finished(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-u", "-m", "pytest", "bench/", "--benchmark-only", *QUICK, *LONG]
    process = subprocess.Popen(
        [*command, f"--results={tmp_path}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    while "process 4 of 50" not in (line := process.stdout.readline()):
        assert line
    while len(workers := workers_of(process.pid)) < 5:  # baseline, control, in_place, peak, reference rate
        assert process.poll() is None
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "the run was interrupted" in rest
    assert "Traceback" not in rest
    assert read(tmp_path / "results.json").interrupted
    in_place = results_in(tmp_path)["in_place"]
    assert 3 <= len(in_place.processes) <= 6
    assert in_place.speed_up is not None
    assert in_place.speed_up.low is not None
    deadline = time.monotonic() + 5.0
    while any(worker.is_running() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- Mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--workload=bok", "unknown workload 'bok'; did you mean book?"),
        ("--impl=in_plac", "unknown implementation 'in_plac'; did you mean in_place?"),
        (
            "--impl=control=in_place",
            "'control' is a name of the benchmark's own; give yours another name: mine=in_place",
        ),
        ("--sweep=bach", "unknown sweep 'bach'"),
        ("--generations=1.5", "--generations: expected a whole number of at least 1 and at most 1000000, found '1.5'"),
        ("--seconds=-1", "--seconds: expected a positive number and at most 1000000, found '-1'"),
        ("--budget=1_0", "--budget: expected a positive number"),
        ("--time-out=1e10", "--time-out: expected a positive number"),
        ("--most-seconds=nan", "--most-seconds: expected a positive number"),
        ("--precision=1", "--precision: expected per cent such as 1% or 0.5%, found '1'"),
        ("--against=", "--against=: expected something after the =, found nothing"),
        ("--impl=two\x1b[31m=in_place", "two\ufffd[31m=in_place: expected a name of up to 40 letters"),
        ("--data=/no/such/folder", "/no/such/folder"),
        ("--results=/proc/results", "/proc/results: cannot be written: No such file or directory; choose another"),
        ("--benchmark-histogram", "--benchmark-histogram needs pygal: "),
    ],
)
def test_a_mistake_is_reported_before_anything_runs(arguments: str, words: str) -> None:
    done = run_pytest("--benchmark-only", *arguments.split(" "))
    assert done.returncode == 4
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout
