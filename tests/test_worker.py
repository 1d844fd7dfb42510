"""Workers and the processes around them: what a row may do to the protocol, and what they import."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from bench.cpus import usable_cpus
from bench.measurement.answers import Worker
from bench.measurement.candidates import plan
from bench.measurement.examples import shared_examples
from bench.measurement.process import ENVIRONMENT, THREAD_VARIABLES, WorkerFailed, WorkerProcess
from bench.measurement.sampler import Sampler
from bench.protocol import (
    Loop,
    Looped,
    Pause,
    Paused,
    Prepare,
    Prepared,
    PreparedRate,
    PrepareRate,
    Start,
    Started,
    Take,
    Taken,
    Verified,
    Verify,
)
from bench.records import Settings, Workload
from impls.batched_2d import Batched2D
from impls.interface import Batch, Parameters
from impls.registry import find

FAULTY = Path(__file__).parent / "faulty_rows.py"
BACKPROP = Path(sys.executable).with_name("backprop")
QUICK = ("--workload=20-8-4:4", "--generations=1", "--seconds=0.2", "--data=digits", "--results=out")
SMALL = Workload("small", (6, 5, 4), 3)
ROW = """
from impls.batched_2d import Batched2D

class Mine(Batched2D):
    pass
"""


@pytest.fixture
def data() -> Generator[tuple[str, str]]:
    """Return the paths of 20 examples for `SMALL`."""
    rng = np.random.default_rng(0)
    with shared_examples(rng.random((20, 6)), rng.random((20, 4))) as shared:
        yield shared.examples


@pytest.fixture
def worker() -> Generator[WorkerProcess]:
    process = WorkerProcess(1, usable_cpus()[:1], 60.0)
    yield process
    process.close()


def prepare(data: tuple[str, str], workload: Workload = SMALL) -> Prepare:
    return Prepare(workload, 1, data, 0, 0.001, 1.0)


def outcomes(*specs: str) -> dict[str, tuple[str, str]]:
    """Sample rows beside each other in one generation; return outcome and reason of each."""
    candidates = {"small": plan(SMALL, map(find, specs))}
    settings = Settings(generations=1, workload_seconds=0.1, time_out=60.0)
    rng = np.random.default_rng(0)
    Sampler(candidates, settings, (rng.random((20, 6)), rng.random((20, 4))), lambda *_: None).run()
    return {candidate.label: (candidate.row.outcome, candidate.row.reason) for candidate in candidates["small"]}


# --- The protocol ------------------------------------------------------------------------------------------------


def test_each_request_has_its_reply(worker: WorkerProcess, data: tuple[str, str]) -> None:
    started = worker.ask(Start(find("in_place").target), Started)
    assert started.pid == worker.pid
    assert started.import_seconds > 0
    prepared = worker.ask(prepare(data), Prepared)
    assert prepared.calls * prepared.call_seconds >= 0.0009
    assert prepared.busiest_threads == []  # with a single thread there is nothing to tell apart
    taken = worker.ask(Take(), Taken)
    assert taken.seconds / taken.calls == pytest.approx(prepared.call_seconds, rel=2)
    looped = worker.ask(Loop(0.05), Looped)
    assert looped.seconds >= 0.05
    assert looped.calls > prepared.calls
    rate = worker.ask(PrepareRate("reference", "float32", 1, "64", 0.001), PreparedRate)
    assert (rate.choice, rate.flops) == ("64", 2 * 64**3)
    taken = worker.ask(Take(), Taken)
    assert taken.seconds / taken.calls == pytest.approx(rate.call_seconds, rel=2)
    assert worker.ask(Verify(0, 0, 1.0, ""), Verified).violations == []
    assert worker.alive


def test_what_an_earlier_process_found_is_not_found_out_again(data: tuple[str, str]) -> None:
    """Later processes of a row are checked by what their timed calls leave behind."""
    calls: list[str] = []

    class Counted(Batched2D):
        def gradients(self, batch: Batch) -> Parameters:
            calls.append("gradients")
            return super().gradients(batch)

    worker = Worker(lambda: False)
    worker._class = Counted
    first = worker.answer(prepare(data))
    assert isinstance(first, Prepared)
    assert len(calls) > 2  # the first, the gate's, then those that tell how many make a sample: at least one
    calls.clear()
    later = worker.answer(msgspec.structs.replace(prepare(data), budget_seconds=None, calls=2, call_seconds=0.25))
    assert isinstance(later, Prepared)
    assert (later.calls, later.call_seconds, len(calls)) == (2, 0.25, 2)


def test_a_request_ends_a_loop(worker: WorkerProcess, data: tuple[str, str]) -> None:
    worker.ask(Start(find("in_place").target), Started)
    worker.ask(prepare(data), Prepared)
    worker.send(Loop(3600.0))
    time.sleep(0.5)  # until it loops
    worker.send(Pause())
    assert worker.receive(Looped).seconds < 60
    worker.receive(Paused)


def test_a_request_that_fails_leaves_the_worker_ready(worker: WorkerProcess, data: tuple[str, str]) -> None:
    with pytest.raises(WorkerFailed, match="FileNotFoundError"):
        worker.ask(Start(str(FAULTY.with_name("none.py")) + ":None"), Started)
    with pytest.raises(WorkerFailed, match="AttributeError"):
        worker.ask(Take(), Taken)
    worker.ask(Start(find("in_place").target), Started)
    worker.ask(prepare(data), Prepared)


@pytest.mark.slow("starts workers that compute")
@pytest.mark.parametrize("row", ["Garbles", "Mumbles", "Answers", "Pretends"])
def test_a_reply_that_cannot_be_read_is_an_outcome_of_the_row(row: str) -> None:
    found = outcomes(f"{FAULTY}:{row}", "in_place")
    outcome, reason = found.pop(row)
    assert outcome == "crashed"
    assert reason.startswith("the worker's reply cannot be read: ")
    assert "\n" not in reason
    assert found == dict.fromkeys(("per_example", "control", "in_place"), ("ok", ""))


def test_a_row_that_forks_as_it_is_imported_costs_only_itself(tmp_path: Path) -> None:
    """The child answers, too: every request has two replies."""
    path = tmp_path / "forks.py"
    path.write_text(f"import os\nos.fork()\n{ROW}")
    found = outcomes(f"{path}:Mine", "in_place")
    assert found.pop("Mine")[0] == "crashed"
    assert found == dict.fromkeys(("per_example", "control", "in_place"), ("ok", ""))


def test_a_reply_that_is_too_long_is_an_outcome_of_the_row(
    worker: WorkerProcess, data: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.ask(Start(find("in_place").target), Started)
    for module in ("process", "replies"):
        monkeypatch.setattr(f"bench.measurement.{module}.LONGEST", 20)
    with pytest.raises(WorkerFailed, match=r"the worker's reply is longer than \d+ MiB") as failed:
        worker.ask(prepare(data), Prepared)
    assert failed.value.outcome == "crashed"
    assert not worker.alive


def test_a_worker_that_failed_is_gone(worker: WorkerProcess, data: tuple[str, str]) -> None:
    worker.ask(Start(find(f"{FAULTY}:Garbles").target), Started)
    with pytest.raises(WorkerFailed) as failed:
        worker.ask(prepare(data), Prepared)
    assert failed.value.outcome == "crashed"
    assert not worker.alive
    assert not Path(f"/proc/{worker.pid}").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process that leaves its session is not found")
def test_what_a_row_started_is_gone_with_its_worker(
    worker: WorkerProcess, data: tuple[str, str], tmp_path: Path
) -> None:
    """In a session of its own, and no longer a child of the worker."""
    path = tmp_path / "starts.py"
    path.write_text(
        "import os, time\n"
        f"note = {str(tmp_path / 'pid')!r}\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        with open(note, 'w') as file: file.write(str(os.getpid()))\n"
        "        time.sleep(600)\n"
        "    os._exit(0)\n"
        "while not (os.path.exists(note) and os.path.getsize(note)): time.sleep(0.01)\n"
        f"{ROW}"
    )
    worker.ask(Start(f"{path}:Mine"), Started)
    worker.ask(prepare(data), Prepared)
    pid = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(pid)
    worker.close()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- What a worker is started with -------------------------------------------------------------------------------


def environment_of(worker: WorkerProcess) -> dict[str, str]:
    text = Path(f"/proc/{worker.pid}/environ").read_text()
    return dict(variable.split("=", 1) for variable in text.split("\0") if variable)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
def test_thread_settings_are_there_before_the_first_import(worker: WorkerProcess) -> None:
    worker.ask(Start(""), Started)
    environment = environment_of(worker)
    assert {environment[name] for name in THREAD_VARIABLES} == {"1"}
    assert ENVIRONMENT.items() <= environment.items()
    if hasattr(os, "sched_getaffinity"):
        assert os.sched_getaffinity(worker.pid) == set(usable_cpus()[:1])


@pytest.mark.slow("starts workers that compute")
def test_a_worker_imports_nothing_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("numpy", "bench", "threadpoolctl", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('of the current folder')")
    done = subprocess.run(
        [BACKPROP, "bench", *QUICK, "--impl=in_place"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert (tmp_path / "out" / "results.json").exists()


@pytest.mark.slow("starts workers that compute")
def test_a_row_by_path_may_import_what_stands_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "beside_mine.py").write_text(ROW)
    (folder / "numpy.py").write_text("raise ImportError('of the folder of the row')")
    (folder / "mine.py").write_text(
        "import numpy\nfrom beside_mine import Mine as Base\n\nclass Mine(Base):\n    pass\n"
    )
    done = subprocess.run(
        [BACKPROP, "bench", *QUICK, "--impl=rows/mine.py:Mine"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [BACKPROP, "verify", "rows/mine.py:Mine", "--examples=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Mine: conforms\n")
