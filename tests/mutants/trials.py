"""Mutants before their judges, several at a time."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import msgspec

from bench.measurement.process import THREAD_VARIABLES
from impls import ROOT

from .sources import Mutant, Source

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


class Court:
    """A process with all judges of a kind; a mutant that takes a judge more than `cpu_seconds` hangs."""

    def __init__(self, cpu_seconds: int, judges: str = "judges") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.mutants.{judges}", str(cpu_seconds)],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT | {"NUMBA_CACHE_DIR": self._folder.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def rejected_by(self, text: str, name: str) -> str:
        """Return who rejects the text of a row with its class, or of a module, and why; "" if nobody does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            path = Path(folder) / "mutant.py"
            path.write_text(text)
            print(f"{path}:{name}", file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the judges' process ended; its last words are above")
        return answer.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def verdicts(source: Source, mutants: Iterable[Mutant], processes: int) -> Iterator[Verdict]:
    """Judge mutants of a source, in their order."""
    free: SimpleQueue[Court] = SimpleQueue()

    def judged(mutant: Mutant) -> Verdict:
        court = free.get()
        try:
            by = court.rejected_by(mutant.text, source.class_name)
        finally:
            free.put(court)
        return Verdict(
            mutant.source, mutant.function, mutant.line, mutant.operator, mutant.original, mutant.mutated, by
        )

    with ExitStack() as stack:
        for _ in range(processes):
            free.put(stack.enter_context(Court(source.cpu_seconds, source.judges)))
        yield from stack.enter_context(ThreadPoolExecutor(processes)).map(judged, mutants)
