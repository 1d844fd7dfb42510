"""Property-based testing: call sequences that nobody thought of, and the shortest one that fails.

Hypothesis draws the calls of `CheckedCalls`. Each is written down as a line of a Python script before it is made, so
that what is printed of a sequence that fails can be run by itself.
"""

import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.stateful import run_state_machine_as_test

from impls.conformance.model import CheckedCalls, OutOfRange, Violated
from impls.conformance.violation import Violation, raised
from impls.interface import Implementation

CHECK = "exploration"
PROMISE = "Any valid call sequence matches the reference; inputs and earlier results stay unchanged."
CALLS = 25  # of a sequence
SCRIPT_HEADER = """\
from impls.conformance.model import CheckedCalls
from impls.support.loading import Target, load_target

checked = CheckedCalls(load_target(Target.parse({target!r})))

"""


class OutOfTime(BaseException):
    """The time is over. No Exception, or Hypothesis would take it for a failure of the sequence."""


@dataclass
class Exploration:
    """What to call and until when, and what it has led to."""

    factory: type[Implementation]
    script_header: str
    deadline: float  # seconds of time.monotonic()
    shrink_seconds: float
    begin: Callable[[str], object]  # See `explore`.
    programs: int = 0  # sequences before the first that failed, or all of them
    violation: Violation | None = None  # by the shortest sequence that failed

    def fail(self, script: str, setting: str, error: BaseException) -> None:
        """Take a sequence that failed; Hypothesis makes it shorter every time."""
        if self.violation is None:
            self.programs += 1
            self.deadline = time.monotonic() + self.shrink_seconds
        fields = {"error": str(error)} if isinstance(error, Violated) else raised(error)
        self.violation = Violation(CHECK, promise=PROMISE, setting=setting, program=script, **fields)


class RecordedCalls(CheckedCalls):
    """Calls that are written down as a script."""

    def __init__(self, exploration: Exploration) -> None:
        if time.monotonic() > exploration.deadline:
            raise OutOfTime
        super().__init__(exploration.factory)
        self._exploration = exploration
        self._script = exploration.script_header

    def run(self, line: str, method: Callable[[], Any]) -> Any:
        self._script += f"{line}\n"
        self._exploration.begin(self._script)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return super().run(line, method)
        except OutOfRange:
            hypothesis.reject()
        except (Exception, SystemExit) as error:
            self._exploration.fail(self._script, line, error)
            raise

    def teardown(self) -> None:
        """Look at everything there is, unless the sequence ended early."""
        try:
            if sys.exception() is None:
                self.finish()
                self._exploration.programs += self._exploration.violation is None
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
    exploration = Exploration(factory, script_header, time.monotonic() + seconds, shrink_seconds, begin)
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
    machine: Any = hypothesis.seed(seed)(partial(RecordedCalls, exploration))
    try:
        run_state_machine_as_test(machine, settings=settings)
    except (OutOfTime, hypothesis.errors.Flaky):
        pass  # What fails only now and then, or in time only, is reported as it was seen last.
    except (Exception, SystemExit):
        if exploration.violation is None:
            raise
    return exploration
