"""Timed processes are free of tracers, coverage and debug settings, and a run tells what was removed from them."""

import gc
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from made_up_results import row
from processes import QUICK, run_backprop

from bench.analysis.notes import notes_on_tracing
from bench.analysis.results_files import read
from bench.system import processes, tracers
from bench.system.cpus import usable_cpus

SET = {  # what other tools and other people's shells leave in the environment
    "COVERAGE_PROCESS_CONFIG": ":data:{}",
    "COVERAGE_PROCESS_START": ".coveragerc",
    "COV_CORE_SOURCE": "bench",
    "PYTHONTRACEMALLOC": "25",
    "PYTHONDEVMODE": "1",
    "PYTHONMALLOC": "pymalloc_debug",
    "PYTHONWARNINGS": "error",
    "MALLOC_PERTURB_": "85",
    "MALLOC_CHECK_": "3",
}
RECORDS = """
import json, os, sys, threading, tracemalloc
from impls.batched_2d import Batched2D

class Mine(Batched2D):
    pass

with open({path!r}, "w") as file:
    json.dump({{
        "environment": dict(os.environ),
        "flags": [sys.flags.dev_mode, sys.flags.optimize, sys.warnoptions, sys._xoptions],
        "tracing": [sys.gettrace() is not None, threading.gettrace() is not None, tracemalloc.is_tracing()],
    }}, file)
"""
STARTS_A_WORKER = """
import sys
from bench.runner.process import WorkerProcess
from bench.worker.protocol import Start, Started
from impls.support.loading import Target
worker = WorkerProcess(1, [int(sys.argv[1])], 60.0)
worker.ask(Start(Target.parse(sys.argv[2])), Started)
worker.close()
"""
TRACES = """
import sys, tempfile, tracemalloc
from impls.batched_2d import Batched2D

def trace(*_):
    return trace

sys.settrace(trace)
tracemalloc.start()

class Mine(Batched2D):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        tempfile.mkstemp(prefix="left_behind")

    def gradients(self, batch):
        assert sys.gettrace() is None and not tracemalloc.is_tracing()
        return super().gradients(batch)
"""


@pytest.fixture(autouse=True)
def workers_are_not_traced_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make coverage` has them."""
    monkeypatch.delenv(tracers.KEEP, raising=False)


def started_by(folder: Path, *options: str, **variables: str) -> Any:
    """Return what an implementation sees in a worker that a Python with these options and variables starts."""
    path = folder / "seen.json"
    (folder / "records.py").write_text(RECORDS.format(path=str(path)))
    subprocess.run(
        [sys.executable, *options, "-c", STARTS_A_WORKER, str(usable_cpus()[0]), f"{folder / 'records.py'}:Mine"],
        env=os.environ | variables,
        capture_output=True,
        timeout=120,
        check=True,
    )
    return json.loads(path.read_text())


def test_a_worker_has_nothing_that_traces_checks_or_debugs(tmp_path: Path) -> None:
    seen = started_by(tmp_path, "-X", "dev", "-X", "tracemalloc", "-O", **SET)
    assert not seen["environment"].keys() & SET.keys()
    assert seen["flags"] == [False, 0, [], {}]
    assert seen["tracing"] == [False, False, False]


def test_whoever_wants_workers_to_be_traced_has_them_traced(tmp_path: Path) -> None:
    seen = started_by(tmp_path, **{tracers.KEEP: "1", "PYTHONTRACEMALLOC": "1", "COV_CORE_SOURCE": "bench"})
    assert seen["environment"]["COV_CORE_SOURCE"] == "bench"
    assert seen["tracing"][2]


# --- What is started within the process --------------------------------------------------------------------------


def test_what_traces_a_process_is_switched_off_and_told() -> None:
    def trace(*_arguments: object) -> None:
        return None

    before = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
    try:
        sys.settrace(trace)
        threading.setprofile(trace)
        tracemalloc.start()
        gc.set_debug(gc.DEBUG_SAVEALL)
        told = tracers.switch_off()
        left = sys.gettrace(), threading.getprofile(), tracemalloc.is_tracing(), gc.get_debug()
    finally:
        for restore, function in zip((sys.settrace, sys.setprofile, threading.settrace), before, strict=False):
            restore(function)  # type: ignore[arg-type]
        threading.setprofile(before[3])
        tracemalloc.stop()
        gc.set_debug(0)
    assert left == (None, None, False, 0)
    names = (f"the trace function of {__name__}", f"the profile function of {__name__}", "tracemalloc")
    for name in (*names, "debugging of the garbage collector"):
        assert f"{name} was on in the worker process, and was switched off before it was timed" in told


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 is the first with sys.monitoring")
def test_a_tool_of_sys_monitoring_is_switched_off_and_told() -> None:
    monitoring, calls = sys.monitoring, []  # type: ignore[attr-defined]
    monitoring.use_tool_id(monitoring.PROFILER_ID, "mine")
    monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.PY_START, lambda *_: calls.append(1))
    monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.PY_START)
    told = tracers.switch_off()
    assert monitoring.get_tool(monitoring.PROFILER_ID) is None
    before = len(calls)
    json.dumps({})
    assert len(calls) == before
    assert "mine by sys.monitoring was on in the worker process, and was switched off before it was timed" in told


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace as Linux has it")
def test_a_debugger_that_is_attached_is_told() -> None:
    """The child asks its parent, this process, to trace it."""
    assert processes.tracer() == ""
    ask = "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)"
    program = f"{ask}; from bench.system import processes; print(processes.tracer())"
    out = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)
    assert out.strip() == Path("/proc/self/comm").read_text().strip()


# --- What a run tells --------------------------------------------------------------------------------------------


@pytest.mark.slow("runs a benchmark")
def test_a_run_tells_what_it_removed_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "traces.py").write_text(TRACES)
    variables = ("COV_CORE_SOURCE", "MALLOC_PERTURB_", "PYTHONASYNCIODEBUG")  # that do not slow the benchmark itself
    environment = os.environ | dict.fromkeys(variables, "1") | {"TMPDIR": str(tmp_path / "temporary")}
    command = ("bench", *QUICK, "--impl=traces.py:Mine", "--results=out")
    done = run_backprop(*command, folder=tmp_path, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    results = read(tmp_path / "out" / "results.json")
    (note,) = [str(note) for note in results.notes if note.text.startswith("workers were started without ")]
    assert all(f"{name} (" in note for name in variables)
    assert f"{tracers.KEEP}=1 would keep" in note
    mine = [note.text for note in results.notes if note.text.startswith("Mine: ")]
    assert [note.partition(" was on in ")[0] for note in mine] == [
        f"Mine: the trace function of {tmp_path / 'traces.py'}",
        "Mine: tracemalloc",
    ]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_holds_for_all_rows_is_told_once() -> None:
    rows = [row("per_example", 1e-3), row("numba", 1e-3), row("numba", 1e-3)]
    for each in rows[1:]:
        each.note_tracing(["tracemalloc was on", "tracemalloc was on", "of unknown\norigin"])
    assert [note.text for note in notes_on_tracing(rows)] == ["numba: tracemalloc was on", "numba: of unknown origin"]
    rows[0].note_tracing(["tracemalloc was on"])
    assert notes_on_tracing(rows)[0].text == "all: tracemalloc was on"


def test_a_tool_that_was_loaded_before_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracers.agents() == []
    monkeypatch.setitem(sys.modules, "ddtrace", sys)
    assert tracers.agents() == ["ddtrace was loaded into the worker process: its times may be longer"]
