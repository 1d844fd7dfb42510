"""However a worker or the benchmark ends, the worker and what it left running end, too."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import gone, wait_for, workers_of

from bench.runner.process import WorkerFailed, WorkerProcess
from bench.system import leftovers
from bench.system.cpus import usable_cpus
from bench.worker.protocol import Start, Started
from impls import ROOT
from impls.support.loading import Target

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
from bench.runner.process import WorkerProcess
from bench.worker.protocol import Start
from impls.support.loading import Target
worker = WorkerProcess(1, [int(sys.argv[1])], 60.0)
worker.send(Start(Target.parse(sys.argv[2])))
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
    monkeypatch.setattr("bench.runner.process.LAST_SECONDS", 0.5)
    target, note = row(tmp_path, then)
    worker = WorkerProcess(1, usable_cpus()[:1], 60.0)
    try:
        with pytest.raises(WorkerFailed, match=words) as failed:
            worker.ask(Start(Target.parse(target)), Started)
        assert failed.value.outcome == "crashed"
    finally:
        worker.close()
    assert wait_for(lambda: not psutil.pid_exists(int(note.read_text())), 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_busy_worker_and_what_it_started_are_gone_if_the_benchmark_ends(
    number: signal.Signals, tmp_path: Path
) -> None:
    target, note = row(tmp_path, "while True: pass")
    command = [sys.executable, "-c", STARTS_A_WORKER, str(usable_cpus()[0]), target]
    benchmark = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        assert wait_for(lambda: note.exists() and note.read_text(), 60)
        processes = [psutil.Process(int(note.read_text())), *workers_of(benchmark.pid)]
        assert len(processes) == 2
    finally:
        benchmark.send_signal(number)
        assert benchmark.wait(5) == -number
    assert gone(processes, 5)


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
