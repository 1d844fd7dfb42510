"""Who rejects a mutant: `python -m tests.mutants.judges SECONDS` reads FILE:CLASS from its input and answers each.

The answer is why the mutant is rejected, an empty line if it is not. What all mutants need is imported once; each is
judged in a fork, because it may crash or hang.
"""

import os
import resource
import select
import signal
import sys
from collections.abc import Callable

import scipy.linalg  # noqa: F401 (imported once, before the forks)

from impls.conformance import first_violation
from impls.registry import load_target

ATTEMPTS = 3  # of a judge that finds nothing: what threads do wrong may turn out right by chance
MOST_MEMORY_BYTES = 8 << 30  # of addresses: a mutant that wants more gets a MemoryError


def verify(target: str) -> str:
    """Return the name of the first check of the conformance kit that fails, "" for none."""
    violation = first_violation(load_target(target))
    return violation.check if violation else ""


JUDGES: dict[str, Callable[[str], str]] = {"verify": verify}  # asked in this order, until one rejects


def rejected_by(target: str, seconds: float) -> str:
    """Return the judge that rejects a row, and why: a check, "crashes", or "hangs" after `seconds`; "" for nobody."""
    for name, judge in JUDGES.items():
        for _ in range(ATTEMPTS):
            reason = _in_a_fork(judge, target, seconds)
            if reason:
                return f"{name}: {reason}"
    return ""


def _in_a_fork(judge: Callable[[str], str], target: str, seconds: float) -> str:
    answer, write = os.pipe()
    child = os.fork()
    if child == 0:
        _judge_and_exit(judge, target, write)
    os.close(write)
    try:
        if not select.select([answer], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
            return "hangs"
        reason = os.read(answer, 1 << 16).decode()
        os.kill(child, signal.SIGKILL)  # if it has not ended by itself
        return reason.removeprefix(ANSWER) if reason else "crashes"
    finally:
        os.waitpid(child, 0)
        os.close(answer)


ANSWER = "answer: "  # begins each of them, so that an empty one is not taken for a crash


def _judge_and_exit(judge: Callable[[str], str], target: str, write: int) -> None:
    """Write the judge's answer and end this process, which writes nothing if it fails."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)  # what a row prints is not an answer
        os.dup2(nothing, 2)
        os.write(write, f"{ANSWER}{judge(target)}".encode())
    finally:
        os._exit(0)


def main() -> None:
    seconds = float(sys.argv[1])
    os.nice(19)
    for line in sys.stdin:
        print(rejected_by(line.strip(), seconds), flush=True)


if __name__ == "__main__":
    main()
