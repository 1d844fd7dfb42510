"""Records where a row spends its time: py-spy, attached to the benchmark's own worker while it does only steps."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.data import load, one_hot
from bench.errors import UserError
from bench.process import WorkerProcess, confined_to
from bench.sampler import Settings, examples_folder
from bench.workloads import Workload, usable_cpus
from impls import RowError, find
from profiles.stacks import Stacks, clean, parse

PY_SPY = "BACKPROP_PY_SPY"  # the environment variable that names another py-spy
FEWEST_SAMPLES = 1_000  # for ± 3 points at 95 %
MOST_BEHIND_SECONDS = 1.0
SLOWED = 1.10  # steps per second without the profiler over those with it
MOST_WAITING = 0.02  # of the samples, from which on it is said
LEAST_WITHIN = 0.98  # of the samples must be within the row's own frames
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
class Recording:
    """One recording: what was recorded and how, and the cleaned stacks."""

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
    stacks: Stacks

    @property
    def title(self) -> str:
        """Return what was recorded: `per_example · book · 1 thread`."""
        return f"{self.row} · {self.workload} · {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def stem(self) -> str:
        """Return the name of its files, without the ending."""
        return re.sub(r"[^\w.-]", "-", f"{self.row}.{self.workload}.{self.threads}")

    def notes(self) -> list[str]:
        """Return in words what a reader of the picture should know."""
        notes = [f"Not in the picture: {self.unseen}."] if self.unseen else []
        if self.stacks.samples < FEWEST_SAMPLES:
            notes.append(f"Only {self.stacks.samples} samples; {FEWEST_SAMPLES:,} are needed for ± 3 points.")
        if not self.native:
            notes.append("Without native frames: what C, BLAS and Rust do counts as the Python line that called them.")
        everything = self.stacks.samples + self.stacks.outside + self.stacks.waiting
        if self.stacks.waiting > MOST_WAITING * everything:
            notes.append(f"Left out: {self.stacks.waiting} of {everything} samples, of threads that only waited.")
        within = self.stacks.samples / max(1, self.stacks.samples + self.stacks.outside)
        if within < LEAST_WITHIN:
            notes.append(f"Only {100 * within:.1f} % of the samples were within the row; the others are left out.")
        if self.behind_seconds > MOST_BEHIND_SECONDS:
            notes.append(f"py-spy was {self.behind_seconds:.1f} s behind: the samples may not be where they seem.")
        slowdown = self.steps_per_second_alone / self.steps_per_second if self.steps_per_second else float("inf")
        if slowdown > SLOWED:
            notes.append(f"The profiler slowed the row to {100 / slowdown:.0f} % of its speed.")
        return notes

    def raw(self) -> str:
        """Return the collapsed stacks as text, with one comment line that says what they are."""
        facts = {key: value for key, value in asdict(self).items() if key != "stacks"} | {
            "outside": self.stacks.outside,
            "waiting": self.stacks.waiting,
        }
        lines = [f"{';'.join(stack)} {count}" for stack, count in sorted(self.stacks.counts.items())]
        return "\n".join([f"# {json.dumps(facts, ensure_ascii=False)}", *lines]) + "\n"


def read(path: Path) -> Recording:
    """Return the recording in a file of collapsed stacks that `backprop profile` wrote. Raises UserError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    first = text.partition("\n")[0]
    try:
        facts: dict[str, Any] = json.loads(first.removeprefix("# "))
        stacks = Stacks(parse(text), facts.pop("outside"), facts.pop("waiting"))
        return Recording(**facts, stacks=stacks)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: not a recording: expected collapsed stacks of backprop profile --format raw"
        ) from error


def record(name: str, workload: Workload, seconds: int, rate: int, native: bool, time_out: float = 120.0) -> Recording:
    """Record a row on a workload for so many seconds.

    Raises RowError if the row cannot run here, NotPermitted if py-spy may not attach or is missing, WorkerFailed if
    the worker dies or the row is wrong, NoSamples if nothing was sampled.
    """
    row = find(name)
    reason = row.unavailable()
    if reason:
        raise RowError(f"{row.name} is unavailable: it {reason}")
    program = py_spy()
    dataset = load("digits")
    worker = WorkerProcess(workload.threads, usable_cpus()[: workload.threads], time_out)
    try:
        with examples_folder(dataset.x_train, one_hot(dataset.labels_train)) as folder:
            prepare(worker, name, workload, folder)
            alone = worker.ask("loop", seconds=0.5)
            text, behind, attached = _attach(worker, program, seconds, rate, native, workload.threads)
    finally:
        worker.close()
    stacks = clean(parse(text), row.source)
    if not stacks.samples:
        raise NoSamples(
            f"{row.name}: no sample was within the row, {stacks.outside} were of the loop around it"
            f" and {stacks.waiting} of threads that waited; record for longer"
        )
    unseen = "; ".join(filter(None, (row.unseen, row.unseen_threads if workload.threads > 1 else "")))
    return Recording(
        row.name,
        workload.name,
        workload.threads,
        seconds,
        rate,
        native,
        attached["calls"] / attached["seconds"] if attached["seconds"] else 0.0,
        alone["calls"] / alone["seconds"],
        behind,
        unseen,
        stacks,
    )


def prepare(worker: WorkerProcess, name: str, workload: Workload, folder: str) -> None:
    """Bring a worker to where it has checked the row and is warm: no import and no compilation comes after it."""
    settings = Settings()
    worker.ask("start", implementation=name)
    worker.ask(
        "prepare",
        workload=asdict(workload),
        threads=workload.threads,
        data=folder,
        seed=settings.seed,
        sample_seconds=settings.sample_seconds,
        budget_seconds=BUDGET_SECONDS,
    )


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
) -> tuple[str, float, dict[str, Any]]:
    """Run py-spy while the worker loops; return the collapsed stacks, the seconds it was behind, the loop's count."""
    with tempfile.TemporaryDirectory(prefix="backprop-profile-") as folder:
        out = Path(folder) / "stacks.txt"
        command = [program, "record", "--pid", str(worker.pid), "--format", "raw", "--output", str(out)]
        command += ["--duration", str(seconds), "--rate", str(rate)] + ["--native"] * native
        worker.send("loop", seconds=seconds + MARGIN_SECONDS)
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
            worker.receive()  # tells how it died
        worker.send("pause")
        attached = worker.receive()
        worker.receive()
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


def loop(name: str, workload: Workload, hours: float = 24.0) -> None:
    """Run a row's steps until Ctrl-C, after printing `READY pid`: a target for any profiler."""
    dataset = load("digits")
    worker = WorkerProcess(workload.threads, usable_cpus()[: workload.threads], hours * 3600)
    try:
        with examples_folder(dataset.x_train, one_hot(dataset.labels_train)) as folder:
            prepare(worker, name, workload, folder)
            print(f"READY {worker.pid}", flush=True)
            with suppress(KeyboardInterrupt):
                worker.ask("loop", seconds=hours * 3600)
    finally:
        worker.close()
