"""Mutants before their judges: each in a process of its own, with a time limit, several at a time."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from bench.measurement.process import THREAD_VARIABLES
from impls import ROOT

from .judges import JUDGES
from .sources import Mutant, Source

ATTEMPTS = 3  # of a judge that finds nothing: what threads do wrong may turn out right by chance
ENVIRONMENT = dict.fromkeys(THREAD_VARIABLES, "1") | {"NUMBA_OPT": "0", "PYTHONPATH": str(ROOT)}


class Verdict(msgspec.Struct, frozen=True):
    """A mutant and who rejected it."""

    source: str
    function: str
    line: int
    operator: str
    original: str
    mutated: str
    rejected_by: str  # the judge and what it found, such as "verify: gradient"; "" for nobody

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Return the mutant's key."""
        return self.source, self.function, self.operator, self.original, self.mutated


def verdicts(source: Source, mutants: Iterable[Mutant], seconds: float, processes: int) -> Iterator[Verdict]:
    """Judge mutants of a source; one that takes longer than `seconds` hangs."""

    def judged(mutant: Mutant) -> Verdict:
        by = rejected_by(mutant.row, source.class_name, seconds)
        return Verdict(
            mutant.source, mutant.function, mutant.line, mutant.operator, mutant.original, mutant.mutated, by
        )

    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(judged, mutants)


def rejected_by(row: str, class_name: str, seconds: float) -> str:
    """Return who rejects the text of a row, and why; "" if nobody does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.py"
        path.write_text(row)
        for judge in JUDGES:
            for _ in range(ATTEMPTS):
                reason = _judge(judge, f"{path}:{class_name}", seconds)
                if reason:
                    return f"{judge}: {reason}"
    return ""


def _judge(judge: str, target: str, seconds: float) -> str:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.mutants.judges", judge, target],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        reason, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return "hangs"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return reason.strip() if process.returncode == 0 else "crashed"
