"""Records where a row spends its time: py-spy, attached to the benchmark's own worker while it does only steps."""

from contextlib import suppress
from pathlib import Path

from bench import protocol
from bench.cpus import usable_cpus
from bench.files import write_whole
from bench.measurement.examples import shared_examples
from bench.measurement.process import WorkerProcess
from bench.problem.data import load, one_hot
from bench.records import Settings, Workload
from impls.errors import Unavailable
from impls.registry import Entry
from profiles.py_spy import NoSamples, attach, py_spy
from profiles.recording import Recording
from profiles.stacks import clean, parse
from profiles.unseen import unseen

BUDGET_SECONDS = 5.0  # a row whose call takes longer is left out


def record(
    entry: Entry, workload: Workload, seconds: int, rate: int, native: bool, time_out: float = 120.0
) -> Recording:
    """Record an implementation on a workload for so many seconds.

    Raises Unavailable if it cannot run here, NotPermitted if py-spy may not attach or is missing, WorkerFailed if
    the worker dies or the row is wrong, NoSamples if nothing was sampled.
    """
    reason = entry.unavailable()
    if reason:
        raise Unavailable(f"{entry.name} is unavailable: it {reason}")
    program = py_spy()
    dataset = load("digits")
    worker = WorkerProcess(workload.threads, usable_cpus()[: workload.threads], time_out)
    try:
        with shared_examples(dataset.x_train, one_hot(dataset.labels_train)) as shared:
            prepare(worker, entry, workload, shared.examples)
            alone = worker.ask(protocol.Loop(0.5), protocol.Looped)
            text, behind, attached = attach(worker, program, seconds, rate, native, workload.threads)
    finally:
        worker.close()
    stacks = clean(parse(text), entry.source)
    if not stacks.samples:
        raise NoSamples(
            f"{entry.name}: no sample was within the row, {stacks.outside} were of the loop around it"
            f" and {stacks.waiting} of threads that waited; record for longer"
        )
    return Recording(
        entry.name,
        workload.name,
        workload.threads,
        seconds,
        rate,
        native,
        attached.calls / attached.seconds if attached.seconds else 0.0,
        alone.calls / alone.seconds,
        behind,
        unseen(entry.implementation, workload.threads),
        stacks,
    )


def prepare(worker: WorkerProcess, entry: Entry, workload: Workload, data: tuple[str, str]) -> None:
    """Bring a worker to where it has checked the row and is warm: no import and no compilation comes after it."""
    settings = Settings()
    worker.ask(protocol.Start(entry.target), protocol.Started)
    request = protocol.Prepare(
        workload=workload,
        threads=workload.threads,
        data=data,
        seed=settings.seed,
        sample_seconds=settings.sample_seconds,
        budget_seconds=BUDGET_SECONDS,
    )
    worker.ask(request, protocol.Prepared)


def loop(entry: Entry, workload: Workload, ready: Path | None = None, hours: float = 24.0) -> None:
    """Run a row's steps until Ctrl-C: a target for any profiler.

    When the row is checked and warm, prints `READY pid` or, if a file is named, writes the process's number to it.
    The file appears whole, so that whoever finds it can read it, and is there only while the row runs.
    """
    if ready is not None:
        ready.unlink(missing_ok=True)
    dataset = load("digits")
    worker = WorkerProcess(workload.threads, usable_cpus()[: workload.threads], hours * 3600)
    try:
        with shared_examples(dataset.x_train, one_hot(dataset.labels_train)) as shared:
            prepare(worker, entry, workload, shared.examples)
            if ready is None:
                print(f"READY {worker.pid}", flush=True)
            else:
                write_whole(ready, f"{worker.pid}\n")
            with suppress(KeyboardInterrupt):
                worker.ask(protocol.Loop(hours * 3600), protocol.Looped)
    finally:
        worker.close()
        if ready is not None:
            ready.unlink(missing_ok=True)
