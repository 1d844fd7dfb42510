"""Records where a row spends its time: py-spy, attached to the benchmark's own worker while it does only steps."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from bench import protocol, records
from bench.atomic import write_whole
from bench.cpus import usable_cpus
from bench.measurement.examples import shared_examples
from bench.measurement.process import WorkerProcess, confined_to
from bench.problem.data import load
from bench.problem.dataset import one_hot
from bench.records import Settings, Workload
from impls.errors import Unavailable, UserError
from impls.registry import Entry
from impls.text import one_line
from profiles.stacks import Stacks, clean, parse
from profiles.unseen import unseen

PY_SPY = "BACKPROP_PY_SPY"  # the environment variable that names another py-spy
MIN_SAMPLES = 1_000  # for ± 3 points at 95 %
MAX_BEHIND_SECONDS = 1.0
SLOWED = 1.10  # steps per second without the profiler over those with it
MAX_WAITING = 0.02  # of the samples, from which on it is said
MIN_WITHIN = 0.98  # of the samples must be within the row's own frames
MARGIN_SECONDS = 30.0  # for py-spy to start and to write
BUDGET_SECONDS = 5.0  # a row whose call takes longer is left out

REMEDIES = (
    (
        re.compile(r"Permission Denied: Try running again with elevated permissions", re.IGNORECASE),
        "attaching needs more rights here: run it with sudo, or on Linux set kernel.yama.ptrace_scope=0",
    ),
    (
        re.compile(r"Failed to suspend process|EPERM|Operation not permitted"),
        "this sandbox forbids ptrace: start the container with --cap-add SYS_PTRACE",
    ),
    (
        re.compile(r"Failed to get process executable name.*Permission denied", re.DOTALL),
        "root lacks CAP_SYS_PTRACE here: start the container with --cap-add SYS_PTRACE",
    ),
    (re.compile(r"requires root on OSX"), "macOS lets only root attach: run it with sudo"),
    (re.compile(r"--native is not supported"), "native frames cannot be read on this platform: add --no-native"),
)


class NotPermitted(UserError):
    """Profiling is not possible on this machine as it is; the message says what to do."""

    exit_status = 3


class NoSamples(UserError):
    """py-spy ended without a usable sample."""

    exit_status = 1


@dataclass(frozen=True)
class Facts:
    """What was recorded, and how."""

    row: str
    workload: str
    threads: int
    seconds: int
    rate: int  # samples a second
    native: bool
    steps_per_second: float  # while py-spy was attached …
    steps_per_second_alone: float  # … and before
    behind_seconds: float  # by which py-spy was late at worst
    unseen: str  # what cannot be in the picture, from facts about the row


class _LeftOut(msgspec.Struct):
    """The samples that a file of stacks has no stacks of."""

    outside: int
    waiting: int


@dataclass(frozen=True)
class Recording(Facts):
    """One recording: the facts and the cleaned stacks."""

    stacks: Stacks

    @property
    def title(self) -> str:
        """Return what was recorded: `per_example · book · 1 thread`."""
        return one_line(f"{self.row} · {self.workload} · {self.threads_text}")

    @property
    def threads_text(self) -> str:
        """Return the number of threads in words: `1 thread`."""
        return f"{self.threads} thread{'' if self.threads == 1 else 's'}"

    @property
    def stem(self) -> str:
        """Return the name of its files, without the ending."""
        return file_name(f"{self.row}.{self.workload}.{self.threads}")

    def notes(self) -> list[str]:
        """Return in words what a reader of the picture should know."""
        notes = [one_line(f"Not in the picture: {self.unseen}.")] if self.unseen else []
        if self.stacks.samples < MIN_SAMPLES:
            notes.append(f"Only {self.stacks.samples} samples; {MIN_SAMPLES:,} are needed for ± 3 points.")
        if not self.native:
            notes.append("Without native frames: what C, BLAS and Rust do counts as the Python line that called them.")
        everything = self.stacks.samples + self.stacks.outside + self.stacks.waiting
        if self.stacks.waiting > MAX_WAITING * everything:
            notes.append(f"Left out: {self.stacks.waiting} of {everything} samples, of threads that only waited.")
        within = self.stacks.samples / max(1, self.stacks.samples + self.stacks.outside)
        if within < MIN_WITHIN:
            notes.append(f"Only {100 * within:.1f} % of the samples were within the row; the others are left out.")
        if self.behind_seconds > MAX_BEHIND_SECONDS:
            notes.append(f"py-spy was {self.behind_seconds:.1f} s behind: the samples may not be where they seem.")
        slowdown = self.steps_per_second_alone / self.steps_per_second if self.steps_per_second else float("inf")
        if slowdown > SLOWED:
            notes.append(f"The profiler slowed the row to {100 / slowdown:.0f} % of its speed.")
        return notes

    def raw(self) -> str:
        """Return the collapsed stacks as text, with one comment line that says what they are."""
        facts = _plain(self) | {"outside": self.stacks.outside, "waiting": self.stacks.waiting}
        lines = [f"{';'.join(stack)} {count}" for stack, count in sorted(self.stacks.counts.items())]
        return "\n".join([f"# {json.dumps(facts, ensure_ascii=False)}", *lines]) + "\n"


def file_name(text: str) -> str:
    """Return a text as the name of a file: no part of it leads to another folder, and it is not too long for one."""
    return re.sub(r"[^\w.-]", "-", text)[:100].lstrip(".") or "-"


def read(path: Path) -> Recording:
    """Return the recording in a file of collapsed stacks that `backprop profile` wrote. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    header = text.partition("\n")[0].removeprefix("# ")
    try:
        facts = msgspec.json.decode(header, type=Facts)
        left_out = msgspec.json.decode(header, type=_LeftOut)
    except records.UNREADABLE as error:
        raise UserError(
            f"{path}: not a recording: expected collapsed stacks of backprop profile --format raw: {error}"
        ) from error
    try:
        stacks = Stacks(parse(text), left_out.outside, left_out.waiting)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not stacks.samples:
        raise UserError(f"{path}: not a recording: it has no samples")
    return Recording(**_plain(facts), stacks=stacks)


def _plain(facts: Facts) -> dict[str, Any]:
    return {field.name: getattr(facts, field.name) for field in fields(Facts)}


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
            text, behind, attached = _attach(worker, program, seconds, rate, native, workload.threads)
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


def py_spy() -> str:
    """Return the path of py-spy. Raises NotPermitted if there is none."""
    named = os.environ.get(PY_SPY)
    if named:
        return named
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if not found:
        raise NotPermitted("py-spy is missing: pip install py-spy")
    return found


def _attach(
    worker: WorkerProcess, program: str, seconds: int, rate: int, native: bool, threads: int
) -> tuple[str, float, protocol.Looped]:
    """Run py-spy while the worker loops; return the collapsed stacks, the seconds it was behind, the loop's count."""
    with tempfile.TemporaryDirectory(prefix="backprop-profile-") as folder:
        out = Path(folder) / "stacks.txt"
        command = [program, "record", "--pid", str(worker.pid), "--format", "raw", "--output", str(out)]
        command += ["--duration", str(seconds), "--rate", str(rate)] + ["--native"] * native
        worker.send(protocol.Loop(seconds + MARGIN_SECONDS))
        try:
            with confined_to(set(usable_cpus()[threads:]) or usable_cpus()):  # not on the worker's cores
                profiler = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
        except OSError as error:
            raise NotPermitted(f"py-spy cannot be started: {program}: {error.strerror}; pip install py-spy") from error
        try:
            said, _ = profiler.communicate(timeout=seconds + MARGIN_SECONDS)
        except subprocess.TimeoutExpired:
            raise NoSamples(f"py-spy did not end within {seconds + MARGIN_SECONDS:g} s") from None
        finally:
            profiler.kill()
            profiler.wait()
        if not worker.alive:
            worker.receive(protocol.Looped)  # tells how it died
        worker.send(protocol.Pause())
        attached = worker.receive(protocol.Looped)
        worker.receive(protocol.Paused)
        if profiler.returncode or not out.exists():
            raise _failure(said, profiler.returncode)
        return out.read_text(), _behind(said), attached


def _failure(said: str, status: int) -> UserError:
    """Return the error that says in one line why py-spy failed and what to do."""
    for pattern, remedy in REMEDIES:
        if pattern.search(said):
            return NotPermitted(f"py-spy may not attach: {remedy}")
    if "No stack counts found" in said:
        return NoSamples("py-spy took no sample; record for longer or at a higher rate")
    words = " ".join(said.split())[-200:] or "it said nothing"
    return NoSamples(f"py-spy ended with exit status {status}: {words}")


def _behind(said: str) -> float:
    """Return by how many seconds py-spy says that it was behind, at most; 0 if it says nothing of the kind."""
    return max((float(text) for text in re.findall(r"([\d.]+)s behind in sampling", said)), default=0.0)


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
