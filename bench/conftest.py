"""How the benchmark meets pytest and pytest-benchmark: options, tests, and what is written at the end.

The tests do not time anything themselves. Before the first one, the run takes the samples of all that was selected, so
that no timeout, repetition or new attempt of a single test has a part in it. Each test then replays its own samples
through pytest-benchmark's `timer`, so that its table, JSON, comparison and storage work as its users know them.

`pytest bench/` times what it collects. Where other tests are collected, too (`pytest .`), nothing is timed unless
--benchmark-only asks for it, and our tests are skipped. Where pytest-xdist runs tests side by side, rows are only
checked: they would disturb each other. This file may also be loaded late, while `pytest .` collects; all options have
their defaults then.
"""

import contextlib
import importlib.util
import textwrap
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.session import PerformanceRegression
from rich.console import Console

from bench.analysis import results_files
from bench.analysis.compare_implementations import compare_with_before
from bench.cli.options import add_options, note_without_effect, settings_given
from bench.output import changes
from bench.output.table import WIDTH, summary_lines
from bench.records import Results, Row
from bench.run import Asked, Run
from impls.support.errors import UserError
from impls.support.needs import pip_command
from impls.support.text import one_line

BESIDE_OTHERS = "rows are not timed beside other tests; to time them: pytest bench/ --benchmark-only"
SIDE_BY_SIDE = "pytest-xdist runs tests side by side, which disturbs rows; add -n0 (PYTEST_ADDOPTS may hold another -n)"
ENDED_BY_INTERRUPT = 130


class Replay:
    """A timer that returns the start and the end of each round in turn, so that each lasts as long as its sample."""

    __name__ = "backprop_bench_replay"  # pytest-benchmark stores it in the JSON

    def __init__(self, workload: str, label: str) -> None:
        """Take the names of the workload and of the implementation whose samples are to be played back."""
        self.workload, self.label = workload, label
        self._readings: list[float] = []

    def load(self, seconds: Sequence[float]) -> None:
        """Play back these samples next; each takes two readings of the timer."""
        self._readings = [reading for sample in reversed(seconds) for reading in (sample, 0.0)]

    def __call__(self) -> float:
        """Return the next reading in seconds; the real time when there is nothing to play back."""
        return self._readings.pop() if self._readings else time.perf_counter()


@dataclass
class State:
    """What the hooks of a session share."""

    run: Run
    not_timed: str  # why nothing is timed, for the summary
    replayed: list[Any] = field(default_factory=list)  # pytest-benchmark's records of the tests that were replayed
    written: list[str] = field(default_factory=list)  # lines about the files, for the summary
    session: pytest.Session | None = None  # its exit status may have to change while the summary is printed


@dataclass
class Subject:
    """The result that a test is about, why it failed, its timer, and where pytest-benchmark's record of it goes."""

    result: Row
    failure: str
    replay: Replay
    replayed: list[Any]


STATE = pytest.StashKey[State]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Resolve what was asked for, so that a mistake is reported before anything runs."""
    option = config.getoption
    parallel = _in_parallel(config)
    try:
        _check_options(config)
        run = Run(
            Asked(
                implementations=tuple(option("impl")),
                all_rows=option("all_rows"),
                workloads=tuple(option("workload")),
                sweeps=tuple(option("sweep")),
                data=option("data"),
                folder=Path(option("results")) if option("results") else None,
                settings=settings_given(config),
                against=option("against"),
                timed=not (option("benchmark_disable") or parallel),
            )
        )
    except UserError as error:
        raise pytest.UsageError(one_line(str(error))) from error
    config.stash[STATE] = State(run, SIDE_BY_SIDE if parallel and not option("benchmark_disable") else "")


def _in_parallel(config: pytest.Config) -> bool:
    """Return whether pytest-xdist runs tests side by side: they would disturb each other, so nothing is timed."""
    return hasattr(config, "workerinput") or config.getoption("dist", "no") != "no"


def _check_options(config: pytest.Config) -> None:
    """Refuse options that cannot work together or lack what they need. Raises UserError."""
    if config.getoption("benchmark_only") and config.getoption("benchmark_skip"):
        raise UserError("--benchmark-only and --benchmark-skip exclude each other: give one of them")
    if config.getoption("benchmark_only") and _in_parallel(config):
        raise UserError(f"nothing can be timed: {SIDE_BY_SIDE}")
    for option in ("against", "data", "results"):
        if config.getoption(option) == "":
            raise UserError(f"--{option}=: expected something after the =, found nothing; leave the option out")
    if config.getoption("benchmark_histogram") and importlib.util.find_spec("pygal") is None:
        raise UserError(f"--benchmark-histogram needs pygal: {pip_command('pygal')}")


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Print no dots where little is to be reported."""
    return (report.outcome, "", "") if config.getoption("brief") and report.when == "call" else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every implementation on every workload, with a replay of its own as its timer.

    Other tests have no part in it: pytest calls this for those of this folder only.
    """
    if "subject" in metafunc.fixturenames:
        tests = []
        for workload, candidates in metafunc.config.stash[STATE].run.candidates.items():
            for candidate in candidates:
                label, group = candidate.label, f"{workload}: {candidate.workload.describe()}"
                mark = pytest.mark.benchmark(group=group, timer=Replay(workload, label))
                tests.append(pytest.param(workload, label, id=f"{workload}-{label}", marks=mark))
        metafunc.parametrize(("workload", "label"), tests)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Select in the run what is selected here; keep the tests of baselines and controls: a speed-up needs them."""
    collected = list(items)
    yield
    state = config.stash[STATE]
    ours = [item for item in items if _key(item)]
    if len(ours) < len(items) and not (config.getoption("benchmark_only") or config.getoption("benchmark_disable")):
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=BESIDE_OTHERS))
            state.not_timed = BESIDE_OTHERS
    state.run.select(key for item in ours if (key := _key(item)) and not item.get_closest_marker("skip"))
    kept = {id(item) for item in items}
    items += [item for item in collected if id(item) not in kept and _key(item) in state.run.selected]


def _replay(item: pytest.Item) -> Replay | None:
    """Return the timer of one of our tests, None for any other test, whatever its fixtures are called."""
    marker = item.get_closest_marker("benchmark")
    timer = marker.kwargs.get("timer") if marker else None
    return timer if isinstance(timer, Replay) else None


def _key(item: pytest.Item) -> tuple[str, str] | None:
    """Return the workload and the label of one of our tests, None for any other test."""
    replay = _replay(item)
    return (replay.workload, replay.label) if replay else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Have all samples taken, before any test begins; pytest goes on with the tests."""
    config, run = session.config, session.config.stash[STATE].run
    failed = session.testsfailed and not config.getoption("continue_on_collection_errors")
    if not run.selected or failed or config.getoption("collectonly") or config.getoption("setuponly", False):
        return
    if run.timed:
        try:
            run.check_writable()
        except UserError as error:
            raise pytest.UsageError(one_line(str(error))) from error
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        run.sample(Console())


@pytest.fixture
def subject(request: pytest.FixtureRequest, workload: str, label: str) -> Subject:
    """Return what a test is about."""
    state, replay = request.config.stash[STATE], _replay(request.node)
    assert replay is not None
    return Subject(state.run.row(workload, label), state.run.failure(workload, label), replay, state.replayed)


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Drop the clock rate, which differs at every reading."""
    machine_info.get("cpu", {}).pop("hz_actual", None)
    machine_info.get("cpu", {}).pop("hz_actual_friendly", None)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add what pytest-benchmark has no place for."""
    results = config.stash[STATE].run.results
    if results is not None:
        output_json[Results.KEY] = results_files.to_builtins(results)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results file and the plots; an interrupted run ends with exit status 130."""
    state = session.config.stash.get(STATE, None)
    if state is None or state.run.results is None:
        return
    run, results, state.session = state.run, state.run.results, session
    run.ending = True
    if run.timed:
        try:
            for line in run.write(_json(session.config, state)):
                state.written.append(line)
        except UserError as error:
            state.written.append(f"error: {error}")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    if results.interrupted:
        session.exitstatus = ENDED_BY_INTERRUPT
    elif run.failed:
        session.exitstatus = session.exitstatus or pytest.ExitCode.INTERNAL_ERROR


def _json(config: pytest.Config, state: State) -> dict[str, Any]:
    """Return pytest-benchmark's JSON of the tests that were replayed, ours in it."""
    hook = config.hook
    machine_info = hook.pytest_benchmark_generate_machine_info(config=config)
    hook.pytest_benchmark_update_machine_info(config=config, machine_info=machine_info)
    content: dict[str, Any] = hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=state.replayed,
        include_data=True,
        machine_info=machine_info,
        commit_info=hook.pytest_benchmark_generate_commit_info(config=config),
    )
    hook.pytest_benchmark_update_json(config=config, benchmarks=state.replayed, output_json=content)
    return content


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Generator[None]:
    """Print our table after pytest-benchmark's, which may end in a regression, and the paths of what was written."""
    failure = ""
    try:
        yield
    except PerformanceRegression as regression:
        failure = f"error: --benchmark-compare-fail: {regression}"
    state = config.stash.get(STATE, None)
    if state is None:
        return
    if state.not_timed and not config.getoption("collectonly"):
        terminalreporter.write_line(f"nothing was timed: {state.not_timed}")
    if state.run.results is None or not state.run.timed:
        return
    if not config.getoption("brief"):
        terminalreporter.section("speed-ups")
    for line in _summary(state, config, styled=terminalreporter.hasmarkup):
        terminalreporter.write_line(line)
    if failure and state.session:
        terminalreporter.write_line(failure, red=True)
        state.session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _summary(state: State, config: pytest.Config, *, styled: bool) -> list[str]:
    results = state.run.results
    assert results is not None
    lines = summary_lines(results, whole=config.getoption("verbose") > 0, styled=styled)
    if results.against:
        lines += changes.lines(compare_with_before(results), styled=styled)
    without_effect = note_without_effect(config.invocation_params.args)
    return [*lines, *textwrap.wrap(without_effect, WIDTH), *state.written]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the run needed for itself, and pytest-benchmark's folder for saved runs if there are none in it."""
    if STATE in config.stash:
        config.stash[STATE].run.close()
    with contextlib.suppress(OSError):
        Path(config.getoption("benchmark_storage").removeprefix("file://")).rmdir()
