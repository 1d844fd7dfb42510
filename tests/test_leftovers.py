"""What a row leaves running is gone when its worker has crashed, and when the benchmark was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import gone

from bench.cpus import usable_cpus
from bench.measurement import leftovers
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.protocol import Start, Started
from impls import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="found in /proc")
STARTS = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({note!r}, "w") as file:
            file.write(str(os.getpid()))
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
    os._exit(0)
while not (os.path.exists({note!r}) and os.path.getsize({note!r})):
    time.sleep(0.01)
{then}
"""
STARTS_A_WORKER = """
import sys, time
from bench.measurement.process import WorkerProcess
from bench.protocol import Start
worker = WorkerProcess(1, [int(sys.argv[1])], 60.0)
worker.send(Start(sys.argv[2]))
time.sleep(600)
"""


def row(folder: Path, then: str) -> tuple[str, Path]:
    """Return a row that starts a process in a session of its own, which is no longer its child; and the note of it."""
    note = folder / "pid"
    (folder / "starts.py").write_text(STARTS.format(note=str(note), then=then))
    return f"{folder / 'starts.py'}:Mine", note


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("os._exit(3)", "the worker ended with exit status 3"),
        ("os.kill(os.getpid(), 40)", "the worker ended with signal 40"),
        ("os.closerange(3, 256); time.sleep(600)", "the worker closed its standard output"),
    ],
)
def test_what_a_row_started_is_gone_if_its_worker_crashes(
    then: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.measurement.process.LAST_SECONDS", 0.5)
    target, note = row(tmp_path, then)
    worker = WorkerProcess(1, usable_cpus()[:1], 60.0)
    try:
        with pytest.raises(WorkerFailed, match=words) as failed:
            worker.ask(Start(target), Started)
        assert failed.value.outcome == "crashed"
    finally:
        worker.close()
    assert gone([psutil.Process(int(note.read_text()))] if psutil.pid_exists(int(note.read_text())) else [], 5)


def test_what_a_row_started_is_gone_if_the_benchmark_is_killed(tmp_path: Path) -> None:
    target, note = row(tmp_path, "time.sleep(600)")
    command = [sys.executable, "-c", STARTS_A_WORKER, str(usable_cpus()[0]), target]
    benchmark = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        until = time.monotonic() + 60
        while not (note.exists() and note.read_text()) and time.monotonic() < until:
            time.sleep(0.01)
        started = psutil.Process(int(note.read_text()))
        worker = next(each for each in psutil.Process(benchmark.pid).children() if "worker" in " ".join(each.cmdline()))
    finally:
        benchmark.send_signal(signal.SIGKILL)
        benchmark.wait()
    assert gone([started, worker], 5)


def test_only_what_has_the_mark_is_killed() -> None:
    def start(mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "600"], env={leftovers.VARIABLE: mark, "PATH": os.environ["PATH"]})

    mark = leftovers.new_mark()
    assert mark != leftovers.new_mark()
    processes = [start(each) for each in (mark, f"{mark}.1", f"{mark}1", f"x{mark}", "")]
    try:
        leftovers.kill(mark)
        assert [process.poll() for process in processes[2:]] == [None, None, None]
        assert [process.wait(60) for process in processes[:2]] == [-signal.SIGKILL] * 2
    finally:
        for process in processes:
            process.kill()
            process.wait()
