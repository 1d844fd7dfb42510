"""py-spy, attached to a worker that does only steps."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench import protocol
from bench.cpus import usable_cpus
from bench.measurement.examples import files_of_this_process
from bench.measurement.process import WorkerProcess, confined_to
from impls.errors import UserError
from impls.needs import pip_command

PY_SPY = "BACKPROP_PY_SPY"  # the environment variable that names another py-spy
MARGIN_SECONDS = 30.0  # for py-spy to start and to write

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


def py_spy() -> str:
    """Return the path of py-spy. Raises NotPermitted if there is none."""
    named = os.environ.get(PY_SPY)
    if named:
        return named
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if not found:
        raise NotPermitted(f"py-spy is missing: {pip_command('py-spy')}")
    return found


def attach(
    worker: WorkerProcess, program: str, seconds: int, rate: int, native: bool, threads: int
) -> tuple[str, float, protocol.Looped]:
    """Run py-spy while the worker loops; return the collapsed stacks, the seconds it was behind, the loop's count."""
    with files_of_this_process("stacks.txt") as (out,):
        command = [program, "record", "--pid", str(worker.pid), "--format", "raw", "--output", str(out)]
        command += ["--duration", str(seconds), "--rate", str(rate)] + ["--native"] * native
        worker.send(protocol.Loop(seconds + MARGIN_SECONDS))
        try:
            with confined_to(set(usable_cpus()[threads:]) or usable_cpus()):  # not on the worker's cores
                profiler = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                )
        except OSError as error:
            advice = pip_command("py-spy")
            raise NotPermitted(f"py-spy cannot be started: {program}: {error.strerror}; {advice}") from error
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
        stacks = out.read_text(encoding="utf-8")
    if profiler.returncode or not stacks:
        raise _failure(said, profiler.returncode)
    return stacks, _behind(said), attached


def _failure(said: str, status: int) -> UserError:
    """Return the error that says in one line why py-spy failed and what to do."""
    for pattern, remedy in REMEDIES:
        if pattern.search(said):
            return NotPermitted(f"py-spy may not attach: {remedy}")
    if "No stack counts found" in said:
        return NoSamples("py-spy took no sample; record for longer or at a higher rate")
    if "PythonSpy::retry_new" in said:  # the first look at a process, tried again and again
        return NoSamples("py-spy cannot walk the stacks of this row's native code: try again, or add --no-native")
    words = " ".join(said.split())[-200:] or "it said nothing"
    return NoSamples(f"py-spy ended with exit status {status}: {words}")


def _behind(said: str) -> float:
    """Return by how many seconds py-spy says that it was behind, at most; 0 if it says nothing of the kind."""
    return max((float(text) for text in re.findall(r"([\d.]+)s behind in sampling", said)), default=0.0)
