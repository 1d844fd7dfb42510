"""Elsewhere than on Linux: what the benchmark does without affinity, /proc, files in memory and prctl."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import gone

from bench.results.files import read
from impls import ROOT

BACKPROP = Path(sys.executable).with_name("backprop")
ELSEWHERE = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent / "without_linux"), str(ROOT)))}


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=ELSEWHERE, capture_output=True, text=True, timeout=120, check=False)


def test_what_is_taken_away_is_gone() -> None:
    found = run(sys.executable, "-c", "import os; print(hasattr(os, 'sched_getaffinity'), os.path.exists('/proc'))")
    assert found.stdout == "False False\n"


@pytest.mark.slow("runs benchmarks")
def test_a_run_is_whole_but_for_what_only_linux_tells(tmp_path: Path) -> None:
    done = run(
        BACKPROP,
        *("bench", "--workload=20-8-4:16", "--impl=in_place", "--impl=multithreaded", "--generations=2"),
        *("--seconds=0.3", "--data=digits", f"--results={tmp_path}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = read(tmp_path / "results.json")
    assert [row.outcome for row in results.rows] == ["ok"] * 4
    assert all(row.cores_used for row in results.rows)
    assert not [row.strayed for row in results.rows if row.strayed]
    assert not [row for row in results.rows if row.percent_of_peak]
    assert (
        "no % of peak: no multiply-add instructions that are known here: AVX-512, AVX2 with FMA, NEON (on Linux)"
        in (results.notes)
    )
    assert {path.name for path in tmp_path.iterdir()} >= {"results.json", "speedups.png", "report.html"}


def test_rows_are_verified(tmp_path: Path) -> None:
    done = run(BACKPROP, "verify", "in_place", "--seed=1")
    assert (done.returncode, done.stdout.split(" (")[0]) == (0, "in_place: conforms")


def test_no_worker_outlives_the_benchmark() -> None:
    """Without a signal from Linux, it finds that nobody asks any more."""
    program = (
        "import time; from bench.measurement.process import WorkerProcess; from bench.protocol import Start, Started;"
        "worker = WorkerProcess(1, [0], 60.0); worker.ask(Start('impls.in_place:InPlace'), Started);"
        "print(worker.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=ELSEWHERE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert gone([worker], 5)
