"""Elsewhere than on Linux: what the benchmark does without affinity, /proc, files in memory and prctl.

And as on Windows: without signals, groups of processes and `select` on pipes, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import QUICK, gone, of_run, run_backprop

from bench.analysis.results_files import read
from impls import ROOT

SYSTEMS = ("without_linux", "without_posix")


def elsewhere(system: str, **variables: str) -> dict[str, str]:
    """Return an environment in which Python finds what that system has."""
    return os.environ | variables | {"PYTHONPATH": os.pathsep.join((str(ROOT / "tests" / system), str(ROOT)))}


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_taken_away_is_gone(system: str) -> None:
    program = """
import os, signal, subprocess, sys
print(hasattr(os, "sched_getaffinity"), os.path.exists("/proc"), hasattr(os, "killpg"), hasattr(signal, "SIGKILL"))
process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
from bench.worker.replies import Replies
print(Replies(process.stdout)._pieces is not None)
process.wait()
"""
    output = subprocess.check_output([sys.executable, "-c", program], env=elsewhere(system), text=True)
    here = system == "without_linux"
    assert output == f"False False {here} {here}\n{not here}\n"


@pytest.mark.parametrize("system", SYSTEMS)
def test_rows_are_verified(system: str, tmp_path: Path) -> None:
    done = run_backprop("verify", "in_place", "--seed=1", environment=elsewhere(system))
    assert (done.returncode, done.stdout.split(" (")[0]) == (0, "in_place: conforms")


BAD = """
import os, subprocess, sys, time
from impls.in_place import InPlace

class Hangs(InPlace):
    def step(self, data, learning_rate):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        time.sleep(300)

class Dies(InPlace):
    def step(self, data, learning_rate):
        print("farewell", file=sys.stderr, flush=True)
        os._exit(3)
"""


@pytest.mark.slow("waits for a time limit")
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_is_whole_but_for_what_only_linux_tells_and_bad_rows_end(system: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(BAD)
    names = ("in_place", "multithreaded", f"{bad}:Hangs", f"{bad}:Dies")
    out = tmp_path / "results"
    command = ("bench", *QUICK, "--time-out=5", f"--results={out}", *(f"--impl={name}" for name in names))
    done = run_backprop(*command, environment=elsewhere(system, BACKPROP_MARK=str(tmp_path)))
    assert done.returncode == 1, done.stdout + done.stderr
    results = read(out / "results.json")
    rows = {row.label: row for row in results.rows}
    assert rows["in_place"].outcome == rows["multithreaded"].outcome == "ok"
    assert rows["in_place"].cores_used
    assert not any(row.strayed for row in results.rows)
    assert any(
        note.text.startswith("no % of peak: no multiply-add instructions that are known") for note in results.notes
    )
    assert {path.name for path in out.iterdir()} >= {"speedups.png", "report.html"}
    assert (rows["Hangs"].outcome, rows["Hangs"].reason) == ("timed out", "no answer within 5 s")
    assert rows["Dies"].outcome == "crashed"
    assert rows["Dies"].reason.startswith("the worker ended with exit status 3; its last words: farewell")
    assert gone([process for process, _ in of_run(str(tmp_path))], 5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_worker_outlives_the_benchmark(system: str) -> None:
    """Without a signal from Linux, it finds that nobody asks any more."""
    program = (
        "import time; from bench.runner.process import WorkerProcess; from bench.worker.protocol import Start, Started;"
        "from impls.support.loading import Target;"
        "worker = WorkerProcess(1, [0], 60.0); worker.ask(Start(Target('impls.in_place', 'InPlace')), Started);"
        "print(worker.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=elsewhere(system)) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert gone([worker], 5)
