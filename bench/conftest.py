"""How the benchmark meets pytest and pytest-benchmark: options, tests, and what is written at the end.

The tests do not time anything themselves. Before the first one, the run takes the samples of all that was selected, so
that no timeout, repetition or new attempt of a single test has a part in it. Each test then replays its own samples
through pytest-benchmark's `timer`, so that its table, JSON, comparison and storage work as its users know them.

`pytest bench/` times what it collects. Where other tests are collected, too (`pytest .`), nothing is timed unless
--benchmark-only asks for it, and our tests are skipped. Where pytest-xdist runs tests side by side, implementations are
only checked: they would disturb each other. This file may also be loaded late, while `pytest .` collects; all options
have their defaults then.
"""

import contextlib
import importlib.util
import textwrap
import time
from collections.abc import Generator
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
from bench.records import Results
from bench.run import Asked, Run
from bench.runner.candidates import Candidate
from impls.support.errors import UserError
from impls.support.needs import pip_command
from impls.support.text import one_line

BESIDE_OTHERS = "implementations are not timed beside other tests; to time them: pytest bench/ --benchmark-only"
SIDE_BY_SIDE = (
    "pytest-xdist runs tests side by side, which disturbs what is timed; add -n0 (PYTEST_ADDOPTS may hold another -n)"
)
ENDED_BY_INTERRUPT = 130


class Replay:
    """A timer that returns the start and the end of each round in turn, so that each lasts as long as its sample."""

    __name__ = "backprop_bench_replay"  # pytest-benchmark stores it in the JSON

    def __init__(self, candidate: Candidate, replayed: list[Any]) -> None:
        """Take the candidate whose samples are played back, and where pytest-benchmark's record of them goes."""
        self.candidate = candidate
        self.key = candidate.workload.name, candidate.label
        self._replayed = replayed
        self._readings: list[float] = []

    def play(self, benchmark: Any) -> None:
        """Play back all samples to pytest-benchmark's fixture; each takes two readings of the timer."""
        samples = [seconds for process in self.candidate.row.samples for seconds in process.values()]
        self._readings = [reading for sample in reversed(samples) for reading in (sample, 0.0)]
        benchmark.pedantic(lambda: None, rounds=max(1, len(samples)), iterations=1)
        if benchmark.enabled:
            self._replayed.append(benchmark.stats)

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
    if "replay" in metafunc.fixturenames:
        state, tests = metafunc.config.stash[STATE], []
        for workload, candidates in state.run.candidates.items():
            for candidate in candidates:
                group = f"{workload}: {candidate.workload.describe()}"
                mark = pytest.mark.benchmark(group=group, timer=Replay(candidate, state.replayed))
                name = f"{workload}-{candidate.label}"
                tests.append(pytest.param(workload, candidate.label, id=name, marks=mark))
        metafunc.parametrize(("workload", "label"), tests)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Select in the run what is selected here; keep the tests of baselines and controls: a speed-up needs them."""
    collected = {item: replay.key for item in items if (replay := _replay(item))}
    yield
    state = config.stash[STATE]
    ours = {item: collected[item] for item in items if item in collected}
    if len(ours) < len(items) and not (config.getoption("benchmark_only") or config.getoption("benchmark_disable")):
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=BESIDE_OTHERS))
            state.not_timed = BESIDE_OTHERS
    state.run.select(key for item, key in ours.items() if not item.get_closest_marker("skip"))
    items += [item for item, key in collected.items() if item not in ours and key in state.run.selected]


def _replay(item: pytest.Item) -> Replay | None:
    """Return the timer of one of our tests, None for any other test, whatever its fixtures are called."""
    marker = item.get_closest_marker("benchmark")
    timer = marker.kwargs.get("timer") if marker else None
    return timer if isinstance(timer, Replay) else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Have all samples taken, before any test begins; pytest goes on with the tests."""
    config, run = session.config, session.config.stash[STATE].run
    failed = session.testsfailed and not config.getoption("continue_on_collection_errors")
    if not run.selected or failed or config.getoption("collectonly") or config.getoption("setuponly", False):
        return
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            run.sample(Console())
        except UserError as error:
            raise pytest.UsageError(one_line(str(error))) from error


@pytest.fixture
def replay(request: pytest.FixtureRequest, workload: str, label: str) -> Replay | None:  # noqa: ARG001 (parameters)
    """Return what a test plays back."""
    return _replay(request.node)


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
    if run.timed:
        try:
            state.written.extend(run.write(_json(session.config, state)))
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
