"""How the benchmark meets pytest and pytest-benchmark: options, sampling before the first test, and what is written.

The tests do not time anything themselves. The first one that runs has the sampler take the samples of all that was
selected; each test then replays its own through pytest-benchmark's `timer`, so that its table, JSON, comparison
and storage work as its users know them.
"""

import dataclasses
import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import machine, results
from bench.data import load, one_hot
from bench.errors import UserError
from bench.progress import report_progress
from bench.replay import REPLAY
from bench.sampler import Row, Sampler, Settings, plan
from bench.table import markdown, summary_lines
from bench.workloads import select
from impls import RowError, rows

RUN = pytest.StashKey["Run"]()
ENDED_BY_INTERRUPT = 130
EPOCH_EXAMPLES = 1_500  # that workers get, an epoch of any data set: as many as the digits have to train on


class Run:
    """One run: what was asked for, the sampler, and what came out."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.getoption
        known = [name for name, row in rows().items() if option("all_rows") or not (row.framework or row.unavailable())]
        implementations = option("impl") or known
        chosen = select(option("workload"), option("sweep"))
        self.config = config
        self.rows = {name: plan(workload, implementations) for name, workload in chosen.items()}
        self.settings = Settings(
            generations=int(_positive("--generations", option("generations"), whole=True)),
            workload_seconds=_positive("--seconds", option("seconds")),
            budget_seconds=_positive("--budget", option("budget")),
            time_out=_positive("--time-out", option("time_out")),
        )
        self.folder = Path(option("results"))
        if not (option("benchmark_disable") or option("collectonly")):
            results.check_writable(self.folder)
        self.dataset = load(option("data"))
        self.selected: dict[str, list[Row]] = {}
        self.benchmarks: list[Any] = []  # pytest-benchmark's records of the rows that were replayed
        self.written: list[str] = []  # lines about the files that were written, for the summary
        self.found: results.Results | None = None

    def sample(self) -> results.Results:
        """Take the samples of what was selected, on the first call; return what was found."""
        if self.found is None:
            if self.config.getoption("benchmark_disable"):
                self.settings = dataclasses.replace(self.settings, generations=1, workload_seconds=0)
            x = self.dataset.x_train[:EPOCH_EXAMPLES]
            y = one_hot(self.dataset.labels_train[:EPOCH_EXAMPLES])
            load_average, before = machine.load_average(), machine.cpu_ticks()
            with self.uncaptured() as console, report_progress(console) as progress:
                sampler = Sampler(self.selected, self.settings, (x, y), progress)
                sampler.run()
            steal = machine.steal_percent(before, machine.cpu_ticks())
            self.found = results.summarise(sampler, steal, load_average)
            self.found["data"] = self.dataset.name
        return self.found

    def summary(self, row: Row) -> dict[str, Any]:
        """Return what was found about a row."""
        key = (row.workload.name, row.label)
        return next(found for found in self.sample()["rows"] if (found["workload"], found["label"]) == key)

    def write(self) -> None:
        """Write the results file, whole, and the plots. Raises UserError if that is not possible."""
        from bench.plots import draw  # matplotlib takes half a second

        hook = self.config.hook
        machine_info = hook.pytest_benchmark_generate_machine_info(config=self.config)
        hook.pytest_benchmark_update_machine_info(config=self.config, machine_info=machine_info)
        content = hook.pytest_benchmark_generate_json(
            config=self.config,
            benchmarks=self.benchmarks,
            include_data=True,
            machine_info=machine_info,
            commit_info=hook.pytest_benchmark_generate_commit_info(config=self.config),
        )
        hook.pytest_benchmark_update_json(config=self.config, benchmarks=self.benchmarks, output_json=content)
        path = self.folder / "latest.json"
        results.write_whole(path, json.dumps(content, indent=1, default=str) + "\n")
        table = self.folder / "speedups.md"
        results.write_whole(table, markdown(content[results.KEY]))
        self.written += [f"results: {path}", f"table: {table}"]
        self.written += [f"plot: {plot}" for plot in draw(content, self.folder)]

    @contextmanager
    def uncaptured(self) -> Generator[Console]:
        """Give a console that writes past pytest's capture."""
        with self.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            yield Console()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("backprop-bench")
    group.addoption("--impl", action="append", default=[], metavar="NAME|PATH:CLASS", help="time this row; repeatable")
    group.addoption(
        "--all", dest="all_rows", action="store_true", help="the frameworks' rows, too, and those that cannot run here"
    )
    group.addoption("--workload", action="append", default=[], metavar="NAME|SPEC", help="workload; repeatable")
    group.addoption(
        "--sweep", action="append", default=[], metavar="NAME", help="batch, batch-grid, width, depth, threads or dtype"
    )
    group.addoption("--data", metavar="digits|mnist|DIR", help="data set (default: digits)")
    group.addoption("--generations", default="7", metavar="N", help="processes a row (default: 7)")
    group.addoption("--seconds", default="6", metavar="S", help="sampling time a workload (default: 6)")
    group.addoption("--budget", default="0.1", metavar="S", help="longest call that a row may take (default: 0.1)")
    group.addoption("--time-out", default="120", metavar="S", help="longest wait for a worker (default: 120)")
    group.addoption("--results", default="results", metavar="DIR", help="where JSON and plots go (default: results)")


def pytest_configure(config: pytest.Config) -> None:
    """Resolve what was asked for, so that a mistake is told before anything runs."""
    try:
        run = Run(config)
    except (UserError, RowError) as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[RUN] = run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every row of every workload."""
    if "row" in metafunc.fixturenames:
        metafunc.parametrize(
            "row",
            [
                pytest.param(
                    row,
                    id=f"{name}-{row.label}",
                    marks=pytest.mark.benchmark(group=f"{name}: {row.workload.describe()}", timer=REPLAY),
                )
                for name, of_workload in metafunc.config.stash[RUN].rows.items()
                for row in of_workload
            ],
        )


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Keep the baseline and its control of every workload that is selected: a speed-up needs them."""
    collected = list(items)
    yield
    run = config.stash[RUN]
    kept = {id(item) for item in items}
    selected = {_row(item).workload.name for item in items if _row(item)}
    items[:] = [
        item
        for item in collected
        if id(item) in kept
        or ((row := _row(item)) and row.workload.name in selected and row in run.rows[row.workload.name][:2])
    ]
    for item in items:
        if row := _row(item):
            run.selected.setdefault(row.workload.name, []).append(row)


def _positive(option: str, text: str, whole: bool = False) -> float:
    """Return the number that an option gives. Raises UserError."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf or (whole and number != int(number)):
        kind = "a whole number of at least 1" if whole else "a positive number"
        raise UserError(f"{option}: expected {kind}, found {text!r}")
    return number


def _row(item: pytest.Item) -> Any:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("row") if callspec else None


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add our facts; drop the clock rate, which differs at every reading."""
    machine_info.get("cpu", {}).pop("hz_actual", None)
    machine_info.get("cpu", {}).pop("hz_actual_friendly", None)
    machine_info["backprop_bench"] = machine.facts()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add what pytest-benchmark has no place for."""
    output_json[results.KEY] = config.stash[RUN].found


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    """Return the run that this session's options ask for."""
    return request.config.stash[RUN]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results file and the plots; an interrupted run ends with exit status 130."""
    run = session.config.stash.get(RUN, None)
    if run is None or run.found is None:
        return
    if run.found["interrupted"]:
        session.exitstatus = ENDED_BY_INTERRUPT
    if not session.config.getoption("benchmark_disable"):
        try:
            run.write()
        except UserError as error:
            run.written.append(f"error: {error}")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print our table after pytest-benchmark's, and the paths of what was written."""
    run = config.stash.get(RUN, None)
    if run is None or run.found is None or config.getoption("benchmark_disable"):
        return
    terminalreporter.section("speed-ups")
    for line in summary_lines(run.found) + run.written:
        terminalreporter.write_line(line)
