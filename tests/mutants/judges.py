"""Who rejects a mutant: `python -m tests.mutants.judges CPU_SECONDS` reads FILE:CLASS from its input and answers each.

The answer is why the mutant is rejected, an empty line if it is not. What all mutants need is imported once; each is
judged in a fork, because it may crash or hang: use more than CPU_SECONDS, or none at all for a while.
"""

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import scipy.linalg  # noqa: F401 (imported once, before the forks)

from impls.conformance import first_violation
from impls.loading import load_target

IDLE_SECONDS = 30.0  # without any CPU time: a busy machine lets even the nicest process run before
ATTEMPTS = 2  # of a judge that finds nothing: what threads do wrong may turn out right by chance
MOST_MEMORY_BYTES = 8 << 30  # of addresses: a mutant that wants more gets a MemoryError


def verify(target: str) -> str:
    """Return the name of the first check of the conformance kit that fails, "" for none."""
    violation = first_violation(load_target(target))
    return violation.check if violation else ""


Judges = dict[str, Callable[[str], str]]
JUDGES: Judges = {"verify": verify}  # asked in this order, until one rejects


def rejected_by(target: str, cpu_seconds: int, judges: Judges, attempts: int) -> str:
    """Return the judge that rejects a mutant, and why: a check, "crashes", or "hangs"; "" for nobody."""
    for name, judge in judges.items():
        for _ in range(attempts):
            reason = _in_a_fork(judge, target, cpu_seconds)
            if reason:
                return f"{name}: {reason}"
    return ""


def _in_a_fork(judge: Callable[[str], str], target: str, cpu_seconds: int) -> str:
    answer, write = os.pipe()
    child = os.fork()
    if child == 0:
        _judge_and_exit(judge, target, write, cpu_seconds)
    os.close(write)
    stuck = _waits_for_nothing(child, answer)
    reason = "" if stuck else os.read(answer, 1 << 16).decode()
    os.close(answer)
    os.kill(child, signal.SIGKILL)  # if it has not ended by itself
    _, status = os.waitpid(child, 0)
    if reason:
        return reason.removeprefix(ANSWER)
    return "hangs" if stuck or os.waitstatus_to_exitcode(status) == -signal.SIGXCPU else "crashes"


def _waits_for_nothing(child: int, answer: int) -> bool:
    """Wait for an answer or for the end of a process; return whether it came to a standstill instead."""
    used, since = "", time.monotonic()
    while not select.select([answer], [], [], 0.1)[0]:
        now = " ".join(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13])  # CPU time, in ticks
        if now != used:
            used, since = now, time.monotonic()
        elif time.monotonic() > since + IDLE_SECONDS:
            return True
    return False


ANSWER = "answer: "  # begins each of them, so that an empty one is not taken for a crash


def _judge_and_exit(judge: Callable[[str], str], target: str, write: int, cpu_seconds: int) -> None:
    """Write the judge's answer and end this process, which writes nothing if it fails."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)  # what a row prints is not an answer
        os.dup2(nothing, 2)
        os.write(write, f"{ANSWER}{judge(target)}".encode())
    finally:
        os._exit(0)


def main(judges: Judges = JUDGES, attempts: int = ATTEMPTS) -> None:
    """Answer each line of the input."""
    cpu_seconds = int(sys.argv[1])
    os.nice(19)
    for line in sys.stdin:
        print(rejected_by(line.strip(), cpu_seconds, judges, attempts), flush=True)


if __name__ == "__main__":
    main()
