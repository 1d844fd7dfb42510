"""Workers and the processes around them: what an implementation may do to the protocol, and what workers import."""

import os
import time
from collections.abc import Generator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from processes import QUICK, run_backprop
from sampling import FAULTY, SMALL, by_label, sample

from bench.runner.process import WorkerFailed, WorkerProcess
from bench.runner.worker_environment import ENVIRONMENT, THREAD_VARIABLES, shared_examples
from bench.system.cpus import usable_cpus
from bench.worker.handlers import Worker
from bench.worker.protocol import (
    Calibration,
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
from impls.batched_2d import Batched2D
from impls.interface import Batch, Parameters
from impls.registry import find
from impls.support.loading import Target

IN_PLACE = Start(find("in_place").target)


@pytest.fixture
def request_() -> Generator[Prepare]:
    """Give a request to prepare `SMALL`, with 20 examples."""
    rng = np.random.default_rng(0)
    with shared_examples(rng.random((20, 6)), rng.random((20, 4))) as shared:
        yield Prepare(SMALL, 1, shared.examples, 0, 0.001, 1.0)


@pytest.fixture
def worker() -> Generator[WorkerProcess]:
    process = WorkerProcess(1, usable_cpus()[:1], 60.0)
    yield process
    process.close()


def test_each_request_has_its_reply(worker: WorkerProcess, request_: Prepare) -> None:
    started = worker.ask(IN_PLACE, Started)
    assert started.pid == worker.pid
    assert started.import_seconds > 0
    prepared = worker.ask(request_, Prepared)
    calls, call_seconds = prepared.calibration.calls, prepared.calibration.call_seconds
    assert calls * call_seconds >= 0.0009
    assert prepared.busiest_threads == []  # with a single thread there is nothing to tell apart
    taken = worker.ask(Take(), Taken)
    assert taken.seconds / taken.calls == pytest.approx(call_seconds, rel=2)
    looped = worker.ask(Loop(0.05), Looped)
    assert looped.seconds >= 0.05
    assert looped.calls > calls
    rate = worker.ask(PrepareRate("reference", "float32", 1, 0.001), PreparedRate)
    assert rate.flops in {2 * size**3 for size in (256, 384, 512, 768)}
    taken = worker.ask(Take(), Taken)
    assert taken.seconds / taken.calls == pytest.approx(rate.calibration.call_seconds, rel=2)
    assert worker.ask(Verify(0, 0, 1.0, ""), Verified).violations == []
    assert worker.alive


def test_what_an_earlier_process_found_is_not_found_out_again(request_: Prepare) -> None:
    """Later processes of an implementation are checked by what their timed calls leave behind."""
    calls: list[str] = []

    class Counted(Batched2D):
        def gradients(self, batch: Batch) -> Parameters:
            calls.append("gradients")
            return super().gradients(batch)

    worker = Worker(lambda: False)
    worker._class = Counted
    worker.answer(request_)
    assert len(calls) > 2  # the first, the gate's, then those that tell how many make a sample: at least one
    calls.clear()
    later = worker.answer(msgspec.structs.replace(request_, budget_seconds=1e-9, calibration=Calibration(2, 0.25)))
    assert isinstance(later, Prepared)
    assert (later.calibration, len(calls)) == (Calibration(2, 0.25), 2)


def test_a_request_ends_a_loop(worker: WorkerProcess, request_: Prepare) -> None:
    worker.ask(IN_PLACE, Started)
    worker.ask(request_, Prepared)
    worker.send(Loop(3600.0))
    time.sleep(0.5)  # until it loops
    worker.send(Pause())
    assert worker.receive(Looped).seconds < 60
    worker.receive(Paused)


def test_a_request_that_fails_leaves_the_worker_ready(worker: WorkerProcess, request_: Prepare) -> None:
    with pytest.raises(WorkerFailed, match="FileNotFoundError"):
        worker.ask(Start(Target(str(FAULTY.with_name("none.py")), "None")), Started)
    with pytest.raises(WorkerFailed, match="expected a request to prepare before this one"):
        worker.ask(Take(), Taken)
    worker.ask(IN_PLACE, Started)
    worker.ask(request_, Prepared)


@pytest.mark.slow("starts workers that compute")
def test_a_reply_that_cannot_be_read_is_an_outcome_of_the_row(tmp_path: Path) -> None:
    """Also where an implementation forks as it is imported, so that the child answers, too."""
    forks = tmp_path / "forks.py"
    forks.write_text("import os\nos.fork()\nfrom impls.batched_2d import Batched2D as Forks\n")
    writes = ("Garbles", "Mumbles", "Answers", "Pretends")
    rows = by_label(sample([*(f"{FAULTY}:{name}" for name in writes), f"{forks}:Forks", "in_place"]))
    assert rows.pop("Forks").outcome == "crashed"
    for name in writes:
        row = rows.pop(name)
        assert row.outcome == "crashed"
        assert row.reason.startswith("the worker's reply cannot be read: ")
        assert "\n" not in row.reason
    assert {(row.outcome, row.reason) for row in rows.values()} == {("ok", "")}


def test_a_worker_whose_reply_is_too_long_has_crashed_and_is_gone(
    worker: WorkerProcess, request_: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.ask(IN_PLACE, Started)
    for module in ("runner.process", "worker.replies"):
        monkeypatch.setattr(f"bench.{module}.LONGEST", 20)
    with pytest.raises(WorkerFailed, match=r"the worker's reply is longer than \d+ MiB") as failed:
        worker.ask(request_, Prepared)
    assert failed.value.outcome == "crashed"
    assert not worker.alive
    assert not Path(f"/proc/{worker.pid}").exists()


# --- What a worker is started with -------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
def test_thread_settings_are_there_before_the_first_import(worker: WorkerProcess) -> None:
    worker.ask(Start(None), Started)
    text = Path(f"/proc/{worker.pid}/environ").read_text()
    environment = dict(variable.split("=", 1) for variable in text.split("\0") if variable)
    assert {environment[name] for name in THREAD_VARIABLES} == {"1"}
    assert ENVIRONMENT.items() <= environment.items()
    assert os.sched_getaffinity(worker.pid) == set(usable_cpus()[:1])


@pytest.mark.slow("starts workers that compute")
def test_a_worker_imports_what_stands_beside_the_row_but_no_other_library(tmp_path: Path) -> None:
    """Whatever lies in the current folder or beside the implementation replaces no module."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("numpy", "bench", "threadpoolctl", "msgspec"):
        for place in (tmp_path, folder):
            (place / f"{name}.py").write_text("raise ImportError('of the current folder')")
    (folder / "beside_mine.py").write_text("from impls.batched_2d import Batched2D as Base\n")
    (folder / "mine.py").write_text("import numpy\nfrom beside_mine import Base\n\nclass Mine(Base):\n    pass\n")
    for command in (
        ("bench", *QUICK, "--impl=rows/mine.py:Mine", "--results=out"),
        ("verify", "rows/mine.py:Mine", "--examples=0"),
    ):
        done = run_backprop(*command, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
