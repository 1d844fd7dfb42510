"""Model-based testing: programs over the contract that nobody thought of, and the shortest one that fails.

Hypothesis draws lists of operations (`program`); each is written as a short Python program, and the very text that
would be shown is run. A state machine of Hypothesis would draw the same calls, but tell what fails in terms of itself,
and its rules would have to be told apart from the program that a user can run; here there is only that program.
Arrays are drawn from small seeds, not number by number, so that shrinking works on what matters: fewer operations,
fewer layers, fewer examples, ordinary magnitudes.
"""

import re
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st

from impls.conformance import program
from impls.conformance.model import Model, OutOfRange, Violated
from impls.conformance.trial import Factory, counted
from impls.conformance.violation import Violation
from impls.tracebacks import frames, in_words, whole

CHECK = "exploration"
PROMISE = "Whatever is called in whatever order: results are the oracle's, inputs and earlier results stay as they are."
PARTS = 3  # of a program: one long list would seldom be long
SCRIPT = "<program>"  # the file name of a program in tracebacks

# Scales of random numbers; what comes first is simplest.
PARAMETERS, INPUTS, TARGETS = (1.0, 0.1, 10.0, 0.0), (1.0, 10.0, 1e3, 1e-3, 0.0), (1.0, 0.0, 10.0, -3.0, 1e3)
RATES = (1.0, 0.1, 3.0, 0.01, 0.0)
POOL = (((2, 1), 2), ((3, 4, 2), 3), ((4, 3, 3, 2, 3), 5))  # sizes and batch sizes, for rows that compile for each


@dataclass(frozen=True)
class Exploration:
    """What was found, and how many programs were run before the first that failed, or in all."""

    violation: Violation | None
    programs: int


@dataclass(frozen=True)
class Failure:
    """A program that failed: its lines up to there, and why."""

    body: list[str]
    error: BaseException
    model: Model | None  # of the row that was called

    @property
    def length(self) -> tuple[int, int]:
        """Return what is to be as small as can be."""
        return len(self.body), sum(map(len, self.body))


class _OutOfTime(BaseException):
    """The time is over. No Exception, or Hypothesis would take it for a failure of the program."""


class _Failed(Exception):
    """A program failed: one type for all reasons, so that Hypothesis shrinks them alike."""


def explore(
    factory: Factory,
    target: str,
    *,
    examples: int,
    seed: int,
    seconds: float,
    shrink_seconds: float,
    begin: Callable[[str], object] = len,
) -> Exploration:
    """Run programs until one fails, `examples` of them were run or `seconds` have passed; shrink the one that fails.

    `target` is the registry's for the class, for the program that is shown. The same seed makes the same programs, as
    long as time does not run out; shrinking has a time of its own. `begin` is called with every program before it is
    run, in case that does not return.
    """
    search = _Search(factory, target, time.monotonic() + seconds, shrink_seconds, begin)
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    run = hypothesis.seed(seed)(settings(hypothesis.given(programs(factory))(search.run)))
    with suppress(_Failed, _OutOfTime, hypothesis.errors.Flaky):  # flaky: a row that fails now and then
        run()
    return Exploration(search.violation(), search.programs)


def programs(factory: Factory) -> st.SearchStrategy[list[str]]:
    """Return the programs that suit an implementation, as lists of lines."""
    pooled = getattr(factory, "compiles_per_shape", False)
    dtypes = getattr(factory, "dtypes", ("float64", "float32"))
    seeds, picks, rates = st.integers(0, 3), st.integers(0, 5), st.sampled_from(RATES)
    scales = st.sampled_from(INPUTS), st.sampled_from(TARGETS)
    widths = st.integers(1, 6) | st.integers(1, 70)
    networks = st.tuples(st.lists(widths, min_size=2, max_size=11).map(tuple), st.integers(1, 12) | st.integers(1, 70))
    opened = (st.sampled_from(POOL) if pooled else networks).flatmap(
        lambda network: st.builds(
            program.Open,
            *map(st.just, network),
            st.sampled_from(dtypes),
            st.integers(1, 8),
            seeds,
            st.sampled_from(PARAMETERS),
        )
    )
    more = st.integers(0, 12) | st.integers(0, 40)
    steps = st.builds(program.Step, picks, rates, st.just(1) | st.integers(1, 3) | st.integers(1, 20))
    epochs = st.builds(program.Epoch, picks, rates, more, seeds, st.booleans())
    operation = st.one_of(
        st.builds(program.Gradients, picks),
        steps,
        st.builds(program.Read, picks),
        st.builds(program.Prepare, picks, more, seeds, *scales),
        epochs,
        st.builds(program.PrepareData, picks, more, seeds, *scales),
        st.builds(program.Load, picks, seeds, st.sampled_from(PARAMETERS)),
        st.builds(program.Redraw, picks, seeds, *scales),
        st.builds(program.Overwrite, picks),
        opened,
        st.builds(program.Gradients, picks),
        steps,
        st.builds(program.Close, picks),
    )
    parts = [st.lists(opened, max_size=2)] + PARTS * [st.lists(operation, max_size=10)]
    return st.tuples(*parts).map(lambda parts: program.lines([*chain(*parts)], dtypes[0], pooled=pooled))


class _Search:
    """Runs programs, and remembers the shortest that failed."""

    def __init__(
        self, factory: Factory, target: str, deadline: float, shrink_seconds: float, begin: Callable[[str], object]
    ) -> None:
        self.programs = 0
        self._factory, self._target, self._begin = factory, target, begin
        self._deadline, self._shrink_seconds = deadline, shrink_seconds
        self._failure: Failure | None = None

    def run(self, body: list[str]) -> None:
        """Run one program. Raises _Failed if it fails, _OutOfTime if there is no time for it."""
        if time.monotonic() > self._deadline:
            raise _OutOfTime
        self._begin(program.script(body, self._target))
        failure = failing(body, self._factory)
        if self._failure is None:
            self.programs += 1
        if failure is None:
            return
        if self._failure is None:
            self._deadline = time.monotonic() + self._shrink_seconds
        if self._failure is None or failure.length <= self._failure.length:
            self._failure = failure
        raise _Failed

    def violation(self) -> Violation | None:
        """Return the shortest failure as a violation."""
        if self._failure is None:
            return None
        error, model = self._failure.error, self._failure.model
        violated = isinstance(error, Violated)
        return Violation(
            CHECK,
            str(error) if violated else f"raised {in_words(error)}",
            diagnosis=error.diagnose() if isinstance(error, Violated) else "",
            promise=PROMISE,
            setting=_setting(model) if model else "",
            frames=() if violated else frames(error),
            program=program.script(self._failure.body, self._target),
            traceback="" if violated else whole(error),
        )


def failing(body: Sequence[str], factory: Factory) -> Failure | None:
    """Run a program; return how it fails, None if it does not."""
    names: dict[str, Any] = {"Row": factory, "Model": Model, "np": np}
    code = compile("\n".join(body), SCRIPT, "exec")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            exec(code, names)  # noqa: S102 (a program that was drawn here)
    except OutOfRange:
        return None
    except (Exception, SystemExit) as error:
        places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == SCRIPT]
        last = places[0] or 0
        called = re.search(r"row(\d+)", body[last - 1])
        while last < len(body) and body[last].startswith(" "):  # a loop is shown whole
            last += 1
        model = error.model if isinstance(error, Violated) else names.get(f"model{called[1]}") if called else None
        return Failure(list(body[:last]), error, model)
    finally:
        for name, row in names.items():
            if re.fullmatch(r"row\d+", name):
                with suppress(Exception):
                    row.close()
    return None


def _setting(model: Model) -> str:
    threads = counted(model.threads, "thread")
    return f"{'-'.join(map(str, model.sizes))}, batch size {model.batch_size}, {model.dtype}, {threads}"
