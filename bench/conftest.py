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
import secrets
import textwrap
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.session import PerformanceRegression
from rich.console import Console

from bench.options import per_cent, positive, vain
from bench.records import Results, Row, Settings
from bench.replay import Replay
from bench.report import changes
from bench.report.table import WIDTH, summary_lines
from bench.results import files
from bench.results.before import compare_with_before
from bench.run import Asked, Run
from impls.errors import UserError
from impls.needs import pip_command
from impls.text import one_line

RUN = pytest.StashKey[Run]()
WRITTEN = pytest.StashKey[list[str]]()  # lines about the files, for the summary
REPLAYED = pytest.StashKey[list[Any]]()  # pytest-benchmark's records of the rows that were replayed
NOT_TIMED = pytest.StashKey[str]()  # why nothing is timed, for the summary
SESSION = pytest.StashKey[pytest.Session]()  # its exit status may have to change while the summary is printed
BESIDE_OTHERS = "rows are not timed beside other tests; to time them: pytest bench/ --benchmark-only"
SIDE_BY_SIDE = "pytest-xdist runs tests side by side, which disturbs rows; add -n0 (PYTEST_ADDOPTS may hold another -n)"
ENDED_BY_INTERRUPT = 130


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    settings = Settings()
    group = parser.getgroup("backprop-bench")
    group.addoption(
        "--impl",
        action="append",
        default=[],
        metavar="[LABEL=]NAME|PATH:CLASS",
        help="time this row, under the label if one is given; repeatable",
    )
    group.addoption(
        "--all", dest="all_rows", action="store_true", help="the frameworks' rows, too, and those that cannot run here"
    )
    group.addoption("--workload", action="append", default=[], metavar="NAME|SPEC", help="workload; repeatable")
    group.addoption(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME",
        help="batch, batch-grid, width, width-grid, depth, threads, strong, weak, data or dtype",
    )
    group.addoption(
        "--against", metavar="REV|DIR", help="time the rows of another revision or folder, too, in the same rounds"
    )
    group.addoption("--brief", action="store_true", help="tell little; what `backprop bench` does without -v")
    group.addoption(
        "--data", metavar="digits|mnist|DIR", help="data set (default: mnist if BACKPROP_MNIST is set, else digits)"
    )
    for option, default, metavar, words in (
        ("--generations", settings.generations, "N", "processes per row"),
        ("--seconds", settings.workload_seconds, "S", "sampling time per workload"),
        ("--budget", settings.budget_seconds, "S", "longest call that a row may take"),
        ("--time-out", settings.time_out, "S", "longest wait for a worker"),
        ("--most-seconds", settings.most_seconds, "S", "longest time that --precision may take"),
    ):
        group.addoption(option, default=f"{default:g}", metavar=metavar, help=f"{words} (default: {default:g})")
    group.addoption(
        "--precision",
        metavar="P%",
        help="go on until every speed-up's 95 %% interval is within so many per cent of its value",
    )
    group.addoption(
        "--results",
        metavar="DIR",
        help="where JSON and plots go (default: results/runs/DATE-TIME, the latest in results)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Resolve what was asked for, so that a mistake is told before anything runs."""
    option = config.getoption
    try:
        _check_options(config)
        settings = Settings(
            generations=int(positive("--generations", option("generations"), whole=True)),
            workload_seconds=positive("--seconds", option("seconds")),
            budget_seconds=positive("--budget", option("budget")),
            time_out=positive("--time-out", option("time_out")),
            precision=per_cent("--precision", option("precision")) if option("precision") else None,
            most_seconds=positive("--most-seconds", option("most_seconds")),
            seed=secrets.randbits(32),
        )
        run = Run(
            Asked(
                implementations=tuple(option("impl")),
                all_rows=option("all_rows"),
                workloads=tuple(option("workload")),
                sweeps=tuple(option("sweep")),
                data=option("data"),
                folder=Path(option("results")) if option("results") else None,
                settings=settings,
                against=option("against"),
                timed=not (option("benchmark_disable") or _in_parallel(config)),
            )
        )
    except UserError as error:
        raise pytest.UsageError(one_line(str(error))) from error
    config.stash[RUN], config.stash[WRITTEN], config.stash[REPLAYED] = run, [], []
    if _in_parallel(config) and not option("benchmark_disable"):
        config.stash[NOT_TIMED] = SIDE_BY_SIDE


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
    """Print no dots where little is to be told."""
    return (report.outcome, "", "") if config.getoption("brief") and report.when == "call" else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every row of every workload, with a replay of its own as its timer.

    Other tests have no part in it: pytest calls this for those of this folder only.
    """
    if "result" in metafunc.fixturenames:
        metafunc.parametrize(
            ("workload", "label"),
            [
                pytest.param(
                    name,
                    candidate.label,
                    id=f"{name}-{candidate.label}",
                    marks=pytest.mark.benchmark(
                        group=f"{name}: {candidate.workload.describe()}", timer=Replay(name, candidate.label)
                    ),
                )
                for name, of_workload in metafunc.config.stash[RUN].candidates.items()
                for candidate in of_workload
            ],
        )


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Tell the run which rows are selected; keep the tests of their baselines and controls: a speed-up needs them."""
    collected = list(items)
    yield
    run = config.stash[RUN]
    ours = [item for item in items if _replay(item)]
    if len(ours) < len(items) and not (config.getoption("benchmark_only") or config.getoption("benchmark_disable")):
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=BESIDE_OTHERS))
            config.stash[NOT_TIMED] = BESIDE_OTHERS
    run.select(row for item in ours if (row := _row(item)) and not item.get_closest_marker("skip"))
    kept = {id(item) for item in items}
    items += [item for item in collected if id(item) not in kept and _row(item) in run.selected]


def _replay(item: pytest.Item) -> Replay | None:
    """Return the timer of one of our tests, None for any other test, whatever its fixtures are called."""
    marker = item.get_closest_marker("benchmark")
    timer = marker.kwargs.get("timer") if marker else None
    return timer if isinstance(timer, Replay) else None


def _row(item: pytest.Item) -> tuple[str, str] | None:
    """Return the workload and the label of one of our tests, None for any other test."""
    replay = _replay(item)
    return (replay.workload, replay.label) if replay else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Have all samples taken, before any test begins; pytest goes on with the tests."""
    config, run = session.config, session.config.stash[RUN]
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
def result(request: pytest.FixtureRequest, workload: str, label: str) -> Row:
    """Return the row of a test, with all that was found out about it."""
    return request.config.stash[RUN].row(workload, label)


@pytest.fixture
def failure(request: pytest.FixtureRequest, workload: str, label: str) -> str:
    """Return why the row of a test failed, with the traceback if there is one."""
    return request.config.stash[RUN].failure(workload, label)


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Replay:
    """Return the timer of a test, to be loaded with the samples of its row."""
    timer = _replay(request.node)
    assert timer is not None
    return timer


@pytest.fixture
def replayed(request: pytest.FixtureRequest) -> list[Any]:
    """Return the list of pytest-benchmark's records of the rows that were replayed, for the results file."""
    return request.config.stash[REPLAYED]


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Drop the clock rate, which differs at every reading."""
    machine_info.get("cpu", {}).pop("hz_actual", None)
    machine_info.get("cpu", {}).pop("hz_actual_friendly", None)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add what pytest-benchmark has no place for."""
    results = config.stash[RUN].results
    if results is not None:
        output_json[Results.KEY] = files.to_builtins(results)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results file and the plots; an interrupted run ends with exit status 130."""
    config = session.config
    config.stash[SESSION] = session
    run = config.stash.get(RUN, None)
    if run is None or run.results is None:
        return
    run.ending = True
    if run.timed:
        try:
            for line in run.write(_json(config)):
                config.stash[WRITTEN].append(line)
        except UserError as error:
            config.stash[WRITTEN].append(f"error: {error}")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    if run.results.interrupted:
        session.exitstatus = ENDED_BY_INTERRUPT
    elif run.failed:
        session.exitstatus = session.exitstatus or pytest.ExitCode.INTERNAL_ERROR


def _json(config: pytest.Config) -> dict[str, Any]:
    """Return pytest-benchmark's JSON of the rows that were replayed, ours in it."""
    hook, benchmarks = config.hook, config.stash[REPLAYED]
    machine_info = hook.pytest_benchmark_generate_machine_info(config=config)
    hook.pytest_benchmark_update_machine_info(config=config, machine_info=machine_info)
    content: dict[str, Any] = hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=benchmarks,
        include_data=True,
        machine_info=machine_info,
        commit_info=hook.pytest_benchmark_generate_commit_info(config=config),
    )
    hook.pytest_benchmark_update_json(config=config, benchmarks=benchmarks, output_json=content)
    return content


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Generator[None]:
    """Print our table after pytest-benchmark's, which may end in a regression, and the paths of what was written."""
    failure = ""
    try:
        yield
    except PerformanceRegression as regression:
        failure = f"error: --benchmark-compare-fail: {regression}"
    if NOT_TIMED in config.stash and not config.getoption("collectonly"):
        terminalreporter.write_line(f"nothing was timed: {config.stash[NOT_TIMED]}")
    run = config.stash.get(RUN, None)
    if run is None or run.results is None or not run.timed:
        return
    if not config.getoption("brief"):
        terminalreporter.section("speed-ups")
    lines = summary_lines(run.results, whole=config.getoption("verbose") > 0, styled=terminalreporter.hasmarkup)
    if run.results.against:
        lines += changes.lines(compare_with_before(run.results), styled=terminalreporter.hasmarkup)
    for line in [*lines, *textwrap.wrap(vain(config.invocation_params.args), WIDTH), *config.stash[WRITTEN]]:
        terminalreporter.write_line(line)
    if failure:
        terminalreporter.write_line(failure, red=True)
        config.stash[SESSION].exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the run needed for itself, and pytest-benchmark's folder for saved runs if there are none in it."""
    run = config.stash.get(RUN, None)
    if run is not None:
        run.close()
    with contextlib.suppress(AttributeError, OSError):
        config._benchmarksession.storage.path.rmdir()  # type: ignore[attr-defined]
