"""Property-based testing: call sequences that nobody thought of, and the shortest one that fails.

Hypothesis draws the calls of `CheckedCalls`. Each is written down as a line of a Python script before it is made, so
that what is printed of a sequence that fails can be run by itself.
"""

import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.stateful import run_state_machine_as_test

from impls.conformance.model import CheckedCalls, OutOfRange, Violated
from impls.conformance.violation import Violation
from impls.interface import Implementation
from impls.support.tracebacks import frames, in_words, whole

CHECK = "exploration"
PROMISE = "Any valid call sequence matches the reference; inputs and earlier results stay unchanged."
CALLS = 25  # of a sequence
SCRIPT_HEADER = """\
from impls.conformance.model import CheckedCalls
from impls.support.loading import Target, load_target

checked = CheckedCalls(load_target(Target.parse({target!r})))
"""


@dataclass(frozen=True)
class Exploration:
    """What was found, and how many sequences were run before the first that failed, or in all."""

    violation: Violation | None
    programs: int


class OutOfTime(BaseException):
    """The time is over. No Exception, or Hypothesis would take it for a failure of the sequence."""


@dataclass
class Search:
    """One search: what to call, until when, and the last sequence that failed, which Hypothesis has made shortest."""

    factory: type[Implementation]
    script_header: str
    deadline: float
    shrink_seconds: float
    begin: Callable[[str], object]
    programs: int = 0
    violation: Violation | None = None

    def fail(self, lines: list[str], error: BaseException) -> None:
        if self.violation is None:
            self.programs += 1
            self.deadline = time.monotonic() + self.shrink_seconds
        program = "\n".join([self.script_header, *lines, ""])
        if isinstance(error, Violated):
            violation = Violation(CHECK, str(error))
        else:
            violation = Violation(CHECK, f"raised {in_words(error)}", frames=frames(error), traceback=whole(error))
        self.violation = replace(violation, promise=PROMISE, setting=lines[-1], program=program)


class RecordedCalls(CheckedCalls):
    """Calls that are written down for a search."""

    def __init__(self, search: Search) -> None:
        if time.monotonic() > search.deadline:
            raise OutOfTime
        super().__init__(search.factory)
        self._search = search
        self._lines: list[str] = []

    def run(self, line: str, method: Callable[[], Any]) -> Any:
        self._lines.append(line)
        self._search.begin("\n".join([self._search.script_header, *self._lines, ""]))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return super().run(line, method)
        except OutOfRange:
            hypothesis.reject()
        except (Exception, SystemExit) as error:
            self._search.fail(self._lines, error)
            raise

    def teardown(self) -> None:
        """Look at everything there is, unless the sequence ended early."""
        try:
            if sys.exception() is None:
                self.finish()
                self._search.programs += self._search.violation is None
        finally:
            for instance in self.opened:
                with suppress(Exception):
                    instance.implementation.close()


def explore(
    factory: type[Implementation],
    target: str,
    *,
    examples: int,
    seed: int,
    seconds: float,
    shrink_seconds: float,
    begin: Callable[[str], object] = len,
) -> Exploration:
    """Run call sequences until one fails, `examples` of them were run or `seconds` have passed; shrink what fails.

    `target` is the registry's for the class, for the script that is shown. The same seed makes the same sequences, as
    long as time does not run out; shrinking has a time of its own. `begin` is called with the script so far before
    each call, in case that does not return.
    """
    script_header = SCRIPT_HEADER.format(target=target)
    search = Search(factory, script_header, time.monotonic() + seconds, shrink_seconds, begin)
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=CALLS,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )

    machine: Any = hypothesis.seed(seed)(partial(RecordedCalls, search))
    try:
        run_state_machine_as_test(machine, settings=settings)
    except (OutOfTime, hypothesis.errors.Flaky):  # what fails only now and then, or in time only
        pass
    except (Exception, SystemExit):
        if search.violation is None:
            raise
    return Exploration(search.violation, search.programs)
