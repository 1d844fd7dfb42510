"""However the benchmark ends, a worker that is busy, and so reads no request, ends with it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from processes import gone

from bench.cpus import usable_cpus
from impls import ROOT

SECONDS = 5.0  # that the worker has to end
PARENT = """
import sys, time
from bench.measurement.process import WorkerProcess
from bench.protocol import Start
worker = WorkerProcess(1, [int(sys.argv[1])], 60.0)
worker.send(Start(sys.argv[2]))
time.sleep(600)
"""
SPINS = """
import os
from pathlib import Path
half = Path(__file__).with_name("half")
half.write_text(str(os.getpid()))
half.replace(half.with_name("note"))
while True:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a busy worker ends only after its request")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_busy_worker_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    row, note = tmp_path / "spins.py", tmp_path / "note"
    row.write_text(SPINS)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(usable_cpus()[0]), f"{row}:X"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    workers: list[psutil.Process] = []
    try:
        until = time.monotonic() + 60
        while not note.exists():
            assert parent.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        workers.append(psutil.Process(int(note.read_text())))
        assert workers[0].ppid() == parent.pid
        parent.send_signal(number)
        assert parent.wait(SECONDS) == -number
        assert gone(workers, SECONDS)
    finally:
        parent.kill()
        parent.wait()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
