"""`mpi` on several ranks, its worker, and what happens when a rank differs, raises, dies or hangs."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import gone
from required import needs

from bench.conditions import Workload
from bench.records import FirstCall, Outcome
from bench.run import Asked, Run
from bench.runner.launch import command
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.runner.worker_environment import THREAD_VARIABLES, shared_examples
from bench.system.cpus import cores, usable_cpus
from bench.worker.protocol import (
    Arrange,
    Arranged,
    Calibration,
    Failure,
    HandedOver,
    HandOver,
    Looped,
    Prepare,
    Prepared,
    Start,
    Started,
    Take,
    Taken,
)
from bench.worker.ranks import merged
from impls import ROOT
from impls.registry import ENTRIES, find
from impls.support import mpiexec, ranks
from impls.support.errors import Unavailable, UserError
from impls.support.loading import Target

pytestmark = needs("mpi", ENTRIES["mpi"].unavailable())
PROGRAMS = ROOT / "tests" / "support" / "mpi_programs.py"
SMALL = Workload("small", (6, 5, 4), 8, threads=2)


def job(number: int, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of `mpi_programs` on so many ranks."""
    one_thread = dict.fromkeys(THREAD_VARIABLES, "1")
    return subprocess.run(
        command(number, "tests.support.mpi_programs", *arguments),
        env=os.environ | one_thread | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


# --- The implementation ----------------------------------------------------------------------------------------------


@pytest.mark.slow("starts MPI jobs")
@pytest.mark.parametrize(
    ("name", "number"), [("mpi", 3), ("mpi-pure_python", 2), ("mpi-numba", 2), ("mpi-rust_fused", 2), ("torch_ddp", 2)]
)
def test_it_conforms_on_several_ranks(name: str, number: int) -> None:
    """Networks of the kit have fewer examples than ranks, shares of different sizes, and short last mini-batches.

    One engine has lists, one arrays of its own, one is not of NumPy. Some launchers mix up the lines of ranks.
    """
    if find(name).unavailable():
        pytest.skip(f"{name} {find(name).unavailable()}")
    done = job(number, "conforms", name)
    violations = sorted(re.findall(r"rank \d+: \[.*?\]", done.stdout))
    assert violations == [f"rank {rank}: []" for rank in range(number)], done.stdout + done.stderr


def test_the_engine_is_part_of_the_name() -> None:
    entry = find("mpi-batched_2d")
    assert (entry.name, entry.ranks) == ("mpi-batched_2d", True)
    assert entry.load().engine == "batched_2d"  # type: ignore[attr-defined]
    assert find("two=mpi-batched_2d").implementation == "mpi-batched_2d"
    for name in ("mpi-nothing", "mpi-mpi"):
        with pytest.raises(UserError, match="unknown implementation"):
            find(name)


# --- Faults: one line, and the end within seconds ----------------------------------------------------------------


@pytest.mark.slow("starts MPI jobs")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("steps", "Drifts"), "rank 0: parameters after step 4: expected the same bits on all ranks, found check sum"),
        (("steps", "Raises"), "rank 0: RuntimeError: rank 1 failed: ArithmeticError: planted"),
        (("steps", "Leaves"), "rank 1: ArithmeticError: planted"),
        (("steps", "Dies"), "signal 9"),
        (
            ("sizes-differ", ""),
            "rank 0: sizes: expected the same on all ranks, found (6, 5, 4) on rank 0 and (6, 6, 4)",
        ),
    ],
    ids=["drifts", "raises", "leaves", "dies", "sizes"],
)
def test_a_fault_of_one_rank_ends_the_job(arguments: tuple[str, str], words: str) -> None:
    done = job(2, *arguments)
    assert done.returncode != 0
    assert words in " ".join((done.stdout + done.stderr).split()), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "done" not in done.stdout


def test_a_rank_that_hangs_is_not_waited_for_for_ever() -> None:
    done = job(2, "steps", "Hangs", **{ranks.TIME_OUT: "1"})
    assert done.returncode != 0
    assert "rank 0: waited 1 s for the other ranks in an Allreduce: one of them hangs" in done.stderr


def test_files_of_a_job_that_was_killed_are_not_in_the_way(tmp_path: Path) -> None:
    """Open MPI names its folder by its process id, and ids come again."""
    for number in range(os.getpid(), os.getpid() + 2_000):
        folder = tmp_path / f"ompi.{number}"
        folder.mkdir()
        (folder / f"pmix.{socket.gethostname().partition('.')[0]}.tool").touch()
    done = job(2, "steps", "Leaves", TMPDIR=str(tmp_path))
    assert "rank 1: ArithmeticError: planted" in done.stderr


def test_ranks_of_another_version_are_refused() -> None:
    class Two:
        size = 2

        def allgather(self, mine: dict[str, str]) -> list[dict[str, str]]:
            return [mine, mine | {"backprop-bench": "0.0.1"}]

    with pytest.raises(ranks.RanksDiffer, match=r"backprop-bench: expected the same .* and 0\.0\.1 on rank 1; give"):
        ranks.agree(Two(), sizes=(3, 2))


@pytest.mark.parametrize("text", ["soon", "0", "inf", "nan"])
def test_a_time_out_is_a_positive_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ranks.TIME_OUT, text)
    with pytest.raises(UserError, match=f"{ranks.TIME_OUT}: expected a positive number of seconds, found '{text}'"):
        ranks.time_out_seconds()


def test_an_mpiexec_of_another_mpi_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ranks do not find each other, and each would train alone."""
    monkeypatch.setenv(mpiexec.EXPECTED, "2")
    with pytest.raises(UserError, match=r"mpiexec started 2 ranks, but MPI \(.*\) sees 1: mpiexec belongs to another"):
        ranks.communicator.__wrapped__()


def test_without_mpi4py_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mpi4py" else find_spec(name))
    with pytest.raises(Unavailable, match=r"needs mpi4py: .*pip install .*-e .*\[mpi\]"):
        find("mpi-in_place").load()


# --- The worker --------------------------------------------------------------------------------------------------


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    process = WorkerProcess(2, usable_cpus()[:2], 60.0, ranks=True)
    yield process
    process.close()


def test_a_worker_of_two_ranks_answers_as_one(worker: WorkerProcess, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    left = tmp_path / "left"
    left.touch()
    with shared_examples(rng.random((20, 6)), rng.random((20, 4))) as shared:
        worker.ask(Start(find("mpi").target), Started)
        prepared = worker.ask(Prepare(SMALL, 2, shared.examples, 0, 0.001, 1.0), Prepared)
        processes = family(worker.pid)
        assert set(prepared.busiest_threads) <= {process.pid for process in processes}
        assert len(set(prepared.busiest_threads)) == 2
        assert {pool.num_threads for pool in prepared.thread_pools} == {1}
        worker.confine(usable_cpus()[:2], prepared.busiest_threads)
        if cores() > 1:
            places = [os.sched_getaffinity(rank) for rank in prepared.busiest_threads]
            assert places == [{cpu} for cpu in usable_cpus()[:2]]
        worker.ask(Arrange(1), Arranged)
        taken = worker.ask(Take(), Taken)
        assert taken.calls == prepared.calibration.calls
        handed_over = worker.ask(HandOver(str(left)), HandedOver)
        assert handed_over.children
        assert left.stat().st_size == 8 * (6 * 5 + 5 * 4 + 5 + 4)
    before = os.times()
    worker.close()
    after = os.times()
    assert after.children_user - before.children_user > 0.1, "the CPU time of the ranks has to count as this process's"
    assert gone(processes, 10)


def test_the_death_of_a_rank_is_the_implementations(worker: WorkerProcess) -> None:
    rng = np.random.default_rng(0)
    with shared_examples(rng.random((20, 6)), rng.random((20, 4))) as shared:
        worker.ask(Start(Target(str(PROGRAMS), "Dies")), Started)
        with pytest.raises(
            WorkerFailed, match=r"the worker ended with .*; its last words: (process rank 1 .* signal 9|.*signal 9)"
        ) as caught:
            worker.ask(Prepare(SMALL, 2, shared.examples, 0, 0.001, 1.0), Prepared)
    assert caught.value.outcome == "crashed"


def test_no_rank_outlives_the_benchmark() -> None:
    program = (
        "import time; from bench.runner.process import WorkerProcess; from bench.worker.protocol import Start, Started;"
        "worker = WorkerProcess(2, [0], 60.0, ranks=True); worker.ask(Start(None), Started);"
        "print(worker.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        processes = family(int(parent.stdout.readline()))
        assert len(processes) >= 3
        parent.kill()
    assert gone(processes, 10)


def test_replies_of_ranks_become_one() -> None:
    taken = [Taken(1.0, 2.0, 0.5, cpu, 3, 1, 0.01, 0.0, 0.0, 0.0, 100, 1) for cpu in (0.4, 0.5)]
    sample = merged(taken)
    assert isinstance(sample, Taken)
    assert (sample.cpu_seconds, sample.idle_cpus, sample.own_bytes, sample.compilations) == (0.9, 0.02, 200, 2)
    assert (sample.seconds, sample.calls) == (0.5, 3)
    prepared = [
        Prepared(Calibration(2, 1.0), [thread], 0.1, [], {}, "quadratic", False, FirstCall(1.0, 2.0, 3.0, 10))
        for thread in (7, 8)
    ]
    prepared[1].tracing = ["tracemalloc was on"]
    worker = merged(prepared)
    assert isinstance(worker, Prepared)
    assert (worker.busiest_threads, worker.children, worker.tracing) == ([7, 8], True, ["tracemalloc was on"])
    assert worker.first_call == FirstCall(1.0, 2.0, 3.0, 20)
    assert merged([Looped(1, 1.0), Failure(Outcome.INCORRECT, "why")]) == Failure(Outcome.INCORRECT, "rank 1: why")
    assert merged([Failure(Outcome.INCORRECT, "why")] * 2) == Failure(Outcome.INCORRECT, "why")


@pytest.mark.slow("starts MPI jobs")
def test_it_is_timed_unasked_only_beside_threads() -> None:
    run = Run(Asked(workloads=("book",), sweeps=("threads",)))
    with_mpi = [
        workload for workload, candidates in run.candidates.items() if "mpi" in {each.label for each in candidates}
    ]
    assert with_mpi == [workload for workload in run.candidates if workload != "book"]
    asked = Run(Asked(workloads=("book",), implementations=("mpi",)))
    assert "mpi" in {candidate.label for candidate in asked.candidates["book"]}


@pytest.mark.slow("starts MPI jobs")
@pytest.mark.skipif(cores() < 2, reason="one core")
def test_neither_a_launcher_nor_a_rank_imports_anything_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("numpy", "bench", "impls", "mpi4py", "threadpoolctl", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('of the current folder')")
    options = ("--workload=20-8-4:16:float64:2", "--impl=mpi", "--data=digits", "--generations=1", "--seconds=0.2")
    program = Path(sys.executable).with_name("backprop")
    done = subprocess.run(
        [program, "bench", *options], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
