"""The parent's side of a worker: start it confined to its cores, ask it, give up on it when it hangs or dies."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench import conditions, records
from bench.records import Outcome
from bench.runner import launch
from bench.runner.worker_environment import environment
from bench.system import leftovers
from bench.system.processes import confine_children, kill_with_children
from bench.worker import protocol
from bench.worker.replies import LONGEST, Replies
from impls.support.errors import UserError
from impls.support.tracebacks import shortened

AnyReply = TypeVar("AnyReply", bound=protocol.Reply)
LAUNCHER_SECONDS = 5.0  # that mpiexec has to end, once a rank has
LAST_SECONDS = 5.0  # that a worker has to end, once it has closed its standard output


class WorkerFailed(Exception):
    """A worker that gave no good reply: `outcome` is its name, the message what happened.

    `details` are further lines: the traceback, or the last lines that the worker wrote to standard error.
    """

    def __init__(self, outcome: Outcome, reason: str, details: str = "", *, outcome_detail: str = "") -> None:
        super().__init__(
            conditions.printable(reason, conditions.MAX_REASON)
        )  # an implementation's own words, cleaned here
        self.outcome = outcome
        self.outcome_detail = outcome_detail
        self.details = shortened(details.splitlines())


class WorkerProcess:
    """One worker process. Every request has a time limit; a worker that failed is killed and stays failed."""

    def __init__(
        self, threads: int, cpus: Iterable[int], time_out: float, tree: str = "", *, ranks: bool = False
    ) -> None:
        """Start the process, confined to `cpus`, with every known thread setting at `threads`.

        `tree` is a folder with another `impls` than today's, if the implementation is to be loaded from there. With
        `ranks`, start a launcher of as many processes instead, each with every thread setting at 1. Raises WorkerFailed
        if the system has no room for another process or its files.
        """
        self.time_out = time_out
        self._launched = ranks and threads > 1
        command = [sys.executable, "-P", "-m", "bench.worker.main"]  # -P: nothing of the current folder
        if self._launched:
            command, threads = launch.command(threads, "bench.worker.ranks"), 1
        try:
            self._mark = leftovers.new_mark()
            variables = environment(threads, tree, launched=self._launched) | {leftovers.VARIABLE: self._mark}
            with contextlib.ExitStack() as unless_started, confined_to(cpus):
                self._stderr = unless_started.enter_context(tempfile.TemporaryFile())
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._stderr,
                    env=variables,
                    start_new_session=True,  # Ctrl-C is the parent's to handle.
                )
                unless_started.pop_all()
        except (OSError, UserError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WorkerFailed(Outcome.CRASHED, f"its process cannot be started: {reason}") from error
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._replies = Replies(self._process.stdout)

    def ask(self, request: protocol.AnyRequest, expected: type[AnyReply]) -> AnyReply:
        """Send a request and return its reply. Raises WorkerFailed."""
        self.send(request)
        return self.receive(expected)

    def send(self, request: protocol.AnyRequest) -> None:
        """Send a request without waiting for the reply."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `receive` tells why it died
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()

    def receive(self, expected: type[AnyReply]) -> AnyReply:
        """Return the next reply, of the type that is expected. Raises WorkerFailed if there is none, or a failure."""
        line = self._replies.next(self.time_out)
        if line is None:
            self.close()
            raise WorkerFailed(Outcome.TIMED_OUT, f"no answer within {self.time_out:g} s")
        if len(line) >= LONGEST:
            self.close()
            raise WorkerFailed(Outcome.CRASHED, f"the worker's reply is longer than {LONGEST >> 20} MiB")
        if not line.endswith(b"\n"):
            raise self._ended(line if self._launched else b"")
        try:
            reply: Any = msgspec.json.decode(line, type=protocol.Failure | expected)
        except records.UNREADABLE as error:
            if self._launched:  # some launchers report the end of a rank on standard output
                raise self._ended(line) from error
            self.close()
            raise WorkerFailed(Outcome.CRASHED, f"the worker's reply cannot be read: {error}") from error
        if isinstance(reply, protocol.Failure):
            raise WorkerFailed(reply.outcome, reply.reason, reply.traceback)
        assert isinstance(reply, expected)
        return reply

    def confine(self, cpus: Sequence[int], busiest: Sequence[int] = (), *, children: bool = False) -> None:
        """Move all threads of the process to `cpus`, each of the `busiest` to one of its own, and its children if any.

        Does nothing where the system has no such thing. Without a CPU of its own, a thread that wakes up often has to
        wait for another one of the same process, while a CPU stands idle.
        """
        if children or self._launched:
            confine_children(self.pid, cpus)
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus)
            for number, cpu in zip(busiest, cpus, strict=False):
                os.sched_setaffinity(number, [cpu])

    @property
    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._process.poll() is None

    def close(self) -> None:
        """Kill the process and everything that it started. Safe to call twice."""
        if self._launched and self._process.stdin is not None and self.alive:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # so that the ranks' CPU time counts as ours
                self._process.stdin.write(b"\n")  # Open MPI does not pass on that its standard input has ended
                self._process.stdin.close()
                self._process.wait(LAUNCHER_SECONDS)
        kill_with_children(
            self.pid
        )  # each rank, and whatever an implementation started, may be in a process group of its own
        self._process.wait()
        leftovers.kill(self._mark)  # what an implementation started, if the worker had ended before
        if self._launched:
            launch.clean(self.pid)
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _ended(self, received: bytes) -> WorkerFailed:
        """Return how the process ended and the last lines that it wrote to standard error.

        Of several ranks, also what the launcher wrote to standard output, `received` and what follows.
        """
        if self._launched:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LAUNCHER_SECONDS)
            kill_with_children(self.pid)
            while line := self._replies.next(LAUNCHER_SECONDS):
                received += line
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_SECONDS)
        status = self._process.poll()
        ending = "closed its standard output" if status is None else f"ended with {_status_text(status)}"
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 4096))
        lines = (received + self._stderr.read()).decode(errors="replace").strip().splitlines()
        if self._launched:
            lines = _of_ranks(lines)
        self.close()
        last_words = f"; its last words: {lines[-1][:200]}" if lines else ""
        return WorkerFailed(Outcome.CRASHED, f"the worker {ending}{last_words}", "\n".join(lines))


def _status_text(status: int) -> str:
    """Return an exit status in words: the signal's name, if there is one that ended the process."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"


def _of_ranks(lines: Sequence[str]) -> list[str]:
    """Return what tells most of what a job of several ranks wrote: a rank's own error, or the launcher's word of it."""
    errors = [line for line in lines if "error: rank " in line]
    launcher = re.search(r"process rank \d+ .*|EXIT STRING: .*", " ".join(line for line in lines if line.strip("-=")))
    return errors or ([launcher[0]] if launcher else list(lines))


@contextlib.contextmanager
def confined_to(cpus: Iterable[int]) -> Any:
    """Let processes started within inherit these CPUs, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
