"""A run of the benchmark: what was asked for, what was sampled, what was written."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.atomic import check_writable, write_whole
from bench.before import Before
from bench.cpus import usable_cpus
from bench.ends import ended_by_signals
from bench.measurement import machine, tracers, worker_environment
from bench.measurement.bandwidth import memory_rates
from bench.measurement.candidates import Candidate, plan
from bench.measurement.open_files import check_open_files
from bench.measurement.rate_workers import PEAK, REFERENCE
from bench.measurement.sampler import Sampler
from bench.problem.data import load
from bench.problem.dataset import Dataset, one_hot
from bench.problem.memory import check_fits
from bench.problem.problem import EPOCH_EXAMPLES
from bench.problem.workloads import select
from bench.progress import report_progress
from bench.quota import limited_groups, throttled_seconds
from bench.records import SCHEMA, MemoryRate, Results, Row, Settings, Workload
from bench.results.files import LATEST, RESULTS
from bench.results.kernels import note_on_kernels, note_on_variables
from bench.results.notes import (
    note_on_cpus,
    notes_on_peaks,
    notes_on_quota,
    notes_on_references,
    notes_on_run,
    notes_on_workloads,
)
from bench.results.summary import summarise
from bench.results.tracing import note_on_environment, notes_on_tracing
from bench.temporary import folder_of_this_process
from impls.errors import UserError
from impls.registry import RESERVED, Entry, entries, find_all
from impls.tracebacks import in_words

RUNS = Path("results/runs")  # of the current folder: a run that is not given a folder gets one of its own here
REPORT = "report.html"


@dataclass(frozen=True)
class Asked:
    """What the user asked for."""

    implementations: tuple[
        str, ...
    ] = ()  # names and path/to/file.py:Class, LABEL= before them or not; none: all that are usual here
    all_rows: bool = False  # the frameworks' rows, too, and those that cannot run here
    workloads: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()
    data: str | None = None
    folder: Path | None = None  # for the results; None: one of its own
    settings: Settings = field(default_factory=Settings)
    against: str | None = None  # a revision or a folder, whose rows are timed, too
    timed: bool = True  # or each row is only checked and called, and nothing is written


class Run:
    """One run, from what was asked for to the files."""

    def __init__(self, asked: Asked) -> None:
        """Resolve what was asked for. Raises UserError for a mistake, before anything is measured."""
        with ExitStack() as unless_it_can_be_done:
            self._until_the_end = unless_it_can_be_done
            self.candidates = self._planned(asked)
            self.dataset: Dataset = load(asked.data)
            self._until_the_end = unless_it_can_be_done.pop_all()
        self._against = asked.against or ""
        self.timed = asked.timed
        self.settings = asked.settings
        if not asked.timed:
            self.settings = msgspec.structs.replace(asked.settings, generations=1, workload_seconds=0)
        self.results: Results | None = None  # once the samples were taken
        self.failed = False  # by a fault of the benchmark itself: not all samples were taken, or not all files made
        self.selected: set[tuple[str, str]] = set()  # rows to sample, by workload and label
        self._folder = asked.folder
        self._started = False
        self._sampler: Sampler | None = None
        self.ending = False  # from now on, no signal ends the run

    def close(self) -> None:
        """Remove what the run needed for itself."""
        self._until_the_end.close()

    def _planned(self, asked: Asked) -> dict[str, list[Candidate]]:
        """Return the candidates of each workload. Raises UserError."""
        if asked.implementations:
            chosen = find_all(asked.implementations, reserved=RESERVED)
        else:
            known = entries().values()
            chosen = [entry for entry in known if asked.all_rows or not (entry.framework or entry.unavailable())]
        if asked.against:
            folder = self._until_the_end.enter_context(folder_of_this_process())
            before = Before(asked.against, folder).entries(chosen)
            taken = {entry.name for entry in before} & {entry.name for entry in chosen}
            if taken:
                raise UserError(f"--against: two rows would be called {min(taken)!r}; give yours another label")
            chosen = [*chosen, *before]
        workloads = select(asked.workloads, asked.sweeps)
        candidates = {
            name: plan(workload, [entry for entry in chosen if asked.implementations or _usual(entry, workload)])
            for name, workload in workloads.items()
        }
        check_open_files(candidate for of in candidates.values() for candidate in of)
        check_fits({name: len(of) for name, of in candidates.items()}, workloads, EPOCH_EXAMPLES)
        return candidates

    def check_writable(self) -> None:
        """Raise UserError if the results cannot be written: better before a run than after it."""
        check_writable(self._folder or RUNS)

    def select(self, rows: Iterable[tuple[str, str]]) -> None:
        """Choose the rows to sample, by workload and label; the baseline and the control of a workload come along."""
        chosen = set(rows)
        workloads = {workload for workload, _ in chosen}
        baselines = {(name, c.label) for name in workloads for c in self.candidates[name] if c.is_baseline}
        self.selected = chosen | baselines

    def sample(self, console: Console) -> Results:
        """Take the samples of what was selected; return what was found.

        Only once, however it ended: a second start would mix its samples with those of the first.
        """
        if self._started:
            raise RuntimeError("the samples of a run can be taken only once")
        self._started = True
        self._until_the_end.enter_context(ended_by_signals(self._is_ending))
        try:
            self.results = self._sampled(console)
        finally:
            self.ending = self.results is not None
            self._sampler = None
        return self.results

    def _is_ending(self) -> bool:
        """Return whether what was found is being kept: no signal may come between."""
        return self.ending or (self._sampler is not None and self._sampler.ended)

    def _sampled(self, console: Console) -> Results:
        """Take the samples and return what was found."""
        selected: dict[str, list[Candidate]] = {}
        for name, of_workload in self.candidates.items():
            chosen = [candidate for candidate in of_workload if (name, candidate.label) in self.selected]
            if chosen:
                selected[name] = chosen
        most = max(candidates[0].workload.epoch_examples or EPOCH_EXAMPLES for candidates in selected.values())
        x = self.dataset.x_train[:most]
        y = one_hot(self.dataset.labels_train[:most])
        threads = [of[0].workload.threads for of in selected.values()] if self.timed else []
        memory, notes_on_memory = _memory_rates(threads)
        date, start = datetime.now().astimezone(), time.monotonic()
        load_average, before = machine.load_average(), machine.cpu_ticks()
        busy, own = machine.busy_seconds(), machine.own_seconds()
        cpus, limited = usable_cpus(), limited_groups()
        throttled_before = throttled_seconds(limited)
        with report_progress(console) as progress:
            sampler = self._sampler = Sampler(selected, self.settings, (x, y), progress)
            sampler.run()
        steal_percent = machine.steal_percent(before, machine.cpu_ticks())
        duration, busy_after = time.monotonic() - start, machine.busy_seconds()
        throttled = throttled_seconds(limited) - throttled_before if limited else None
        others = None
        if busy is not None and busy_after is not None:
            others = max(0.0, busy_after - busy - (machine.own_seconds() - own)) / duration
        rows = {name: [candidate.row for candidate in of] for name, of in selected.items()}
        workloads = [
            summarise(
                of[0].workload,
                rows[name],
                sampler.rate(name, PEAK),
                sampler.rate(name, REFERENCE),
                min(len(x), EPOCH_EXAMPLES),
                self.settings.precision,
            )
            for name, of in selected.items()
        ]
        facts = msgspec.structs.replace(machine.facts(), memory_rates=memory)
        notes = notes_on_run(sampler.interrupted, steal_percent, others, sampler.failure)
        notes += notes_on_quota(facts, duration, throttled)
        notes += note_on_cpus(cpus, usable_cpus()) + notes_on_memory
        if self.timed:
            notes += note_on_variables(facts)
            notes += note_on_environment(worker_environment.debugging(), tracers.KEEP, kept=tracers.kept())
            notes += notes_on_tracing(row for of in rows.values() for row in of)
            notes += note_on_kernels(facts, (row for of in rows.values() for row in of))
            notes += notes_on_peaks(workloads)
            notes += notes_on_references({name: sampler.rate(name, REFERENCE) for name in selected})
        self.failed = bool(sampler.failure)
        return Results(
            schema=SCHEMA,
            date=date.isoformat(timespec="seconds"),
            duration_seconds=duration,
            data=self.dataset.name,
            interrupted=sampler.interrupted,
            settings=self.settings,
            machine=facts,
            load_average_before=load_average,
            steal_percent=steal_percent,
            other_cpus=others,
            throttled_seconds=throttled,
            against=self._against,
            workloads=workloads,
            rows=[row for of in rows.values() for row in of],
            notes=notes + notes_on_workloads(rows.values(), self.settings.precision),
        )

    def row(self, workload: str, label: str) -> Row:
        """Return what was found about a row."""
        return self._candidate(workload, label).row

    def failure(self, workload: str, label: str) -> str:
        """Return why a row failed: in one line, and further lines such as a traceback."""
        candidate = self._candidate(workload, label)
        return "\n".join(filter(None, (f"{candidate.row.outcome}: {candidate.row.reason}", candidate.details)))

    def write(self, content: dict[str, Any]) -> Iterator[str]:
        """Write the results file, then what is made of it, and give a line about each file as soon as it is there.

        `content` is the whole of the JSON. A run without a folder of its own leaves copies of the latest beside the
        runs. Raises UserError if the results file cannot be written; what cannot be made of it is `failed`, in a line.
        """
        assert self.results is not None
        folder = self._folder or _new_folder(datetime.fromisoformat(self.results.date))
        path = folder / RESULTS
        write_whole(path, json.dumps(content, default=str) + "\n")
        if self._folder is None:
            write_whole(LATEST, path.read_bytes())
        yield f"results: {path}"
        for make in (self._table, self._plots, self._report):
            try:
                for kind, made in make(folder):
                    yield f"{kind}: {made}"
                    if self._folder is None:
                        write_whole(LATEST.parent / made.name, made.read_bytes())
            except UserError as error:
                self.failed = True
                yield f"error: {error}"
            except Exception as error:  # of whatever draws: it costs no other file
                self.failed = True
                yield f"error: {in_words(error)}; try again: backprop plot {path}, backprop report {path}"

    def _table(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """Write the table; give what it is and its path, as those below do."""
        from bench.report.table import markdown

        assert self.results is not None
        table = folder / "speedups.md"
        write_whole(table, markdown(self.results))
        yield "table", table

    def _plots(self, folder: Path) -> Iterator[tuple[str, Path]]:
        from bench.report.plots import draw  # matplotlib takes half a second

        assert self.results is not None
        for plot in draw(self.results, folder):
            yield "plot", plot

    def _report(self, folder: Path) -> Iterator[tuple[str, Path]]:
        from bench.report.page.page import page
        from bench.report.page.recordings import recorded
        from bench.scaling.record import FILE as SCALING
        from bench.scaling.record import read as read_scaling

        assert self.results is not None
        report, recordings, scaling = folder / REPORT, [], None
        with suppress(UserError):  # it is the report's own business: `backprop report` tells what is wrong with them
            recordings = recorded()
        with suppress(UserError):
            scaling = read_scaling(SCALING)
        write_whole(report, page(self.results, recordings, scaling=scaling))
        yield "report", report

    def _candidate(self, workload: str, label: str) -> Candidate:
        return next(candidate for candidate in self.candidates[workload] if candidate.label == label)


def _memory_rates(threads: Iterable[int]) -> tuple[list[MemoryRate], list[str]]:
    """Return the memory rates and no note, or no rates and a note that says why: no row is lost for them."""
    try:
        return memory_rates(threads), []
    except (RuntimeError, MemoryError, OSError) as error:  # no room for another thread or for the arrays
        return [], [f"no memory rates: {in_words(error)}"]


def _usual(entry: Entry, workload: Workload) -> bool:
    """Return whether a row is timed unasked: one rank alone is its engine's row once more."""
    return not entry.ranks or workload.threads > 1 or workload.sweep in ("threads", "strong", "weak")


def _new_folder(date: datetime) -> Path:
    """Return a folder for a run of that date which no other run has."""
    stamp = f"{date:%Y-%m-%d-%H%M%S}"
    for attempt in range(100):
        folder = RUNS / (f"{stamp}-{attempt + 1}" if attempt else stamp)
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    return RUNS / stamp
