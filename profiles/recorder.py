"""Records where an implementation spends its time: py-spy, attached to a worker that does only steps."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.conditions import Settings, Workload
from bench.runner.process import WorkerProcess, confined_to
from bench.runner.worker_environment import files_of_this_process, shared_examples
from bench.system.cpus import usable_cpus
from bench.worker import protocol
from bench.workloads.data import load, one_hot
from impls.registry import Entry
from impls.support.errors import Unavailable, UserError
from impls.support.needs import pip_command
from profiles.recording import Recording
from profiles.stacks import clean, parse

PY_SPY = "BACKPROP_PY_SPY"  # the environment variable that names another py-spy
MARGIN_SECONDS = 30.0  # for py-spy to start and to write
BUDGET_SECONDS = 5.0  # an implementation whose call takes longer is skipped
WORKER_TIME_OUT_SECONDS = 120.0
UNSEEN_THREADS = "threads that do not run Python (of BLAS, Rust, OpenMP) and other MPI ranks"
REMEDIES = {  # by what py-spy says
    "elevated permissions": "needs more rights here: run it with sudo, or on Linux set kernel.yama.ptrace_scope=0",
    "Failed to suspend process": "needs ptrace, forbidden here: start the container with --cap-add SYS_PTRACE",
    "Operation not permitted": "needs ptrace, forbidden here: start the container with --cap-add SYS_PTRACE",
    "Failed to get process executable name": "lacks CAP_SYS_PTRACE: start the container with --cap-add SYS_PTRACE",
    "requires root on OSX": "must be root on macOS: run it with sudo",
    "--native is not supported": "cannot read native frames on this platform: add --no-native",
}


class NotPermitted(UserError):
    """Profiling is not possible on this machine as it is; the message says what to do."""

    exit_status = 3


class NoSamples(UserError):
    """py-spy ended without a usable sample."""

    exit_status = 1


def py_spy() -> str:
    """Return the path of py-spy. Raises NotPermitted if there is none."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(os.environ.get(PY_SPY, "py-spy"), path=folders)
    if not path:
        raise NotPermitted(f"py-spy is missing: {pip_command('py-spy')}")
    return path


def record(entry: Entry, workload: Workload, seconds: int, rate: int, native: bool) -> Recording:
    """Record an implementation on a workload for so many seconds.

    Raises Unavailable if it cannot run here, NotPermitted if py-spy may not attach or is missing, WorkerFailed if
    the worker dies or the implementation is incorrect, NoSamples if nothing was sampled.
    """
    reason = entry.unavailable()
    if reason:
        raise Unavailable(f"{entry.name} is unavailable: it {reason}")
    program = py_spy()
    with warm_worker(entry, workload, WORKER_TIME_OUT_SECONDS) as worker:
        alone = worker.ask(protocol.Loop(0.5), protocol.Looped)
        text, behind_seconds, attached = _attach(worker, program, seconds, rate, native, workload.threads)
    stacks, outside, waiting = clean(parse(text), entry.source)
    if not stacks:
        raise NoSamples(
            f"{entry.name}: no sample was within the implementation, {outside} were of the loop around it"
            f" and {waiting} of threads that waited; record for longer"
        )
    return Recording(
        row=entry.name,
        workload=workload.name,
        threads=workload.threads,
        seconds=seconds,
        rate=rate,
        native=native,
        steps_per_second=attached.calls / attached.seconds if attached.seconds else 0.0,
        steps_per_second_alone=alone.calls / alone.seconds,
        behind_seconds=behind_seconds,
        unseen=unseen(entry, workload.threads),
        outside=outside,
        waiting=waiting,
        stacks=stacks,
    )


def unseen(entry: Entry, threads: int) -> str:
    """Return in words what cannot be in the picture of an implementation with so many threads; "" for nothing."""
    return "; ".join(filter(None, (entry.unseen, UNSEEN_THREADS if threads > 1 else "")))


@contextmanager
def warm_worker(entry: Entry, workload: Workload, time_out: float) -> Iterator[WorkerProcess]:
    """Yield a worker that has checked the implementation and is warm: neither import nor compilation is to come."""
    settings = Settings()
    dataset = load("digits")
    worker = WorkerProcess(workload.threads, usable_cpus()[: workload.threads], time_out)
    try:
        with shared_examples(dataset.x_train, one_hot(dataset.labels_train)) as shared:
            worker.ask(protocol.Start(entry.target), protocol.Started)
            request = protocol.Prepare(
                workload=workload,
                threads=workload.threads,
                data=shared.examples,
                seed=settings.seed,
                sample_seconds=settings.sample_seconds,
                budget_seconds=BUDGET_SECONDS,
            )
            worker.ask(request, protocol.Prepared)
            yield worker
    finally:
        worker.close()


def _attach(
    worker: WorkerProcess, program: str, seconds: int, rate: int, native: bool, threads: int
) -> tuple[str, float, protocol.Looped]:
    """Run py-spy while the worker loops; return the collapsed stacks, the seconds it was behind, the loop's count."""
    with files_of_this_process("stacks.txt") as (out,):
        command = [program, "record", "--pid", str(worker.pid), "--format", "raw", "--output", str(out)]
        command += ["--duration", str(seconds), "--rate", str(rate)] + ["--native"] * native
        worker.send(protocol.Loop(seconds + MARGIN_SECONDS))
        other_cpus = set(usable_cpus()[threads:]) or usable_cpus()
        try:
            with confined_to(other_cpus):
                profiler = subprocess.run(
                    command,
                    check=False,
                    timeout=seconds + MARGIN_SECONDS,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                )
        except subprocess.TimeoutExpired:
            raise NoSamples(f"py-spy did not end within {seconds + MARGIN_SECONDS:g} s") from None
        worker.send(protocol.Pause())
        attached = worker.receive(protocol.Looped)
        worker.receive(protocol.Paused)
        stacks = out.read_text(encoding="utf-8")
    if profiler.returncode or not stacks:
        raise _failure(profiler)
    behind = re.findall(r"([\d.]+)s behind in sampling", profiler.stdout)
    return stacks, max(map(float, behind), default=0.0), attached


def _failure(profiler: "subprocess.CompletedProcess[str]") -> UserError:
    """Return the error that says in one line why py-spy failed and what to do."""
    output = profiler.stdout
    for words, remedy in REMEDIES.items():
        if words in output:
            return NotPermitted(f"py-spy {remedy}")
    if "No stack counts found" in output:
        return NoSamples("py-spy took no sample; record for longer or at a higher rate")
    if "PythonSpy::retry_new" in output:  # It could not look at the process even once.
        return NoSamples("py-spy cannot walk the stacks of this implementation's native code: add --no-native")
    return NoSamples(f"py-spy ended with exit status {profiler.returncode}: {' '.join(output.split())[-200:]}")
