"""The main job as a user runs it: pytest and `backprop bench` in processes of their own, on small workloads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FAULTY = ROOT / "tests" / "faulty_rows.py"
QUICK = ("--workload=20-8-4:4", "--generations=2", "--seconds=0.3", "--data=digits")


def run_pytest(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `pytest bench/` from the root of the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "bench/", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "latest.json").read_text())
    return {row["label"]: row for row in content["backprop_bench"]["rows"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """Return a finished run of some rows, a faulty one among them, and its results folder."""
    folder = tmp_path_factory.mktemp("finished")
    rows = ("--impl=in_place", "--impl=pure_python", f"--impl={FAULTY}:Segfaults")
    storage = f"--benchmark-storage={folder / 'storage'}"
    done = run_pytest("--benchmark-only", *QUICK, *rows, f"--results={folder}", "--benchmark-autosave", storage)
    return done, folder


def test_a_run_prints_both_tables_and_the_paths(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, folder = finished
    assert "test_speed[20-8-4:4-in_place]" in done.stdout
    assert "speed-ups over per_example; limit" in done.stdout
    for name in ("latest.json", "speedups.svg", "speedups.png", "limit.svg", "limit.png"):
        assert str(folder / name) in done.stdout
        assert (folder / name).stat().st_size > 0
    assert "generation 2 of 2" in done.stdout  # plain lines where there is no terminal


def test_a_faulty_row_fails_alone(finished: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    done, folder = finished
    assert done.returncode == 1
    assert "4 passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "crashed: the worker ended with SIGSEGV" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    outcomes = {label: row["outcome"] for label, row in rows_of(folder).items()}
    assert outcomes == {
        "per_example": "ok",
        "control": "ok",
        "in_place": "ok",
        "pure_python": "ok",
        "Segfaults": "crashed",
    }


def test_the_json_is_pytest_benchmarks_with_ours_in_it(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    _, folder = finished
    content = json.loads((folder / "latest.json").read_text())
    by_name = {benchmark["name"]: benchmark for benchmark in content["benchmarks"]}
    in_place, baseline = (by_name[f"test_speed[20-8-4:4-{label}]"] for label in ("in_place", "per_example"))
    assert in_place["stats"]["rounds"] == len(in_place["stats"]["data"]) == len(baseline["stats"]["data"])
    assert in_place["extra_info"]["speed_up"]["value"] > 1
    assert in_place["extra_info"]["percent_of_limit"]["value"] > 0
    assert in_place["options"]["timer"] == "backprop_bench_replay"
    assert content["machine_info"]["backprop_bench"]["usable_cpus"] >= 1
    assert content["backprop_bench"]["schema"] == 1
    # the speed-up can be made again from the paired data alone
    start, ratios = 0, []
    for rounds in baseline["extra_info"]["rounds_by_generation"]:
        part = slice(start, start + len(rounds))
        slow, fast = (np.quantile(row["stats"]["data"][part], 0.25) for row in (baseline, in_place))
        ratios.append(slow / fast)
        start += len(rounds)
    assert in_place["extra_info"]["speed_up"]["value"] == pytest.approx((ratios[0] * ratios[1]) ** 0.5)


def test_pytest_benchmark_can_compare_runs(finished: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("pytest-benchmark")
    done = subprocess.run(
        [program, f"--storage={folder / 'storage'}", "compare"], capture_output=True, text=True, check=True
    )
    assert "in_place" in done.stdout


def test_plots_are_the_same_bytes_when_drawn_again(
    finished: tuple["subprocess.CompletedProcess[str]", Path], tmp_path: Path
) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("backprop")
    subprocess.run([program, "plot", folder / "latest.json", "--out", tmp_path], check=True, capture_output=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["limit.png", "limit.svg", "speedups.png", "speedups.svg"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_any_two_rows_of_a_run_can_be_compared(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("backprop")
    compare = (program, "compare", folder / "latest.json", "per_example")
    done = subprocess.run((*compare, "in_place"), capture_output=True, text=True, check=True)
    speed_up = rows_of(folder)["in_place"]["speed_up"]
    value, low, high = (f"{speed_up[key]:.3g}" for key in ("value", "low", "high"))
    assert f"in_place is {value} times as fast as per_example ({low} to {high})" in done.stdout
    done = subprocess.run((*compare, "no_row"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no workload has both 'per_example' and 'no_row'; timed were: per_example, " in done.stderr


def test_a_selection_keeps_the_baseline_and_samples_nothing_else(tmp_path: Path) -> None:
    done = run_pytest("--benchmark-only", *QUICK, "-k", "batched_2d", f"--results={tmp_path}")
    assert done.returncode == 0, done.stdout
    assert set(rows_of(tmp_path)) == {"per_example", "control", "batched_2d"}


def test_disabled_checks_each_row_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    wrong = f"--impl={FAULTY}:Wrong"
    done = run_pytest("--benchmark-disable", *QUICK, "--impl=in_place", wrong, f"--results={folder}")
    assert done.returncode == 1
    assert "3 passed" in done.stdout
    assert "wrong: gradient" in done.stdout
    assert not folder.exists()


def test_an_interrupted_run_keeps_what_was_finished(tmp_path: Path) -> None:
    long = ("--workload=20-8-4:4", "--impl=in_place", "--generations=50", "--seconds=25", "--data=digits")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", "bench/", "--benchmark-only", *long, f"--results={tmp_path}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = ""
    while "generation 3 of 50" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "the run was interrupted" in rest
    assert "Traceback" not in rest
    content = json.loads((tmp_path / "latest.json").read_text())["backprop_bench"]
    assert content["interrupted"]
    rows = {row["label"]: row for row in content["rows"]}
    assert 2 <= len(rows["in_place"]["rounds_by_generation"]) <= 5
    assert rows["in_place"]["speed_up"]["low"] > 0
    assert not _living_workers()


def _living_workers() -> list[str]:
    """Return the workers whose parent is gone: an interrupted run must leave none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
            parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if "bench.worker" in command and parent in ("1", str(os.getpid())):
            found.append(command)
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workload=bok",), "unknown workload 'bok'; did you mean book?"),
        (("--workload=784-0-10",), "layer size must be a whole number"),
        (("--impl=in_plac",), "unknown implementation 'in_plac'; did you mean in_place?"),
        (("--impl=none.py:Row",), "there is no file none.py"),
        (("--sweep=bach",), "unknown sweep 'bach'"),
        (("--generations=0",), "--generations: expected a whole number of at least 1, found '0'"),
        (("--generations=1.5",), "--generations: expected a whole number"),
        (("--seconds=-1",), "--seconds: expected a positive number, found '-1'"),
        (("--seconds=soon",), "--seconds: expected a positive number, found 'soon'"),
        (("--data=/no/such/folder",), "/no/such/folder"),
        (("--results=/dev/null/results",), "cannot be written"),
        (("--results=/proc/results",), "cannot be written"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(arguments: tuple[str, ...], words: str) -> None:
    done = run_pytest("--benchmark-only", *QUICK[1:3], *arguments)
    assert done.returncode == 4
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout
