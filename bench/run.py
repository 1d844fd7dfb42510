"""A run of the benchmark: what was asked for, what was sampled, what was written."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.analysis.notes import (
    NO_PEAK,
    note_on_environment,
    note_on_kernels,
    note_on_variables,
    notes_on_missing_rates,
    notes_on_quota,
    notes_on_run,
    notes_on_tracing,
    notes_on_workloads,
)
from bench.analysis.results_files import LATEST, RESULTS
from bench.analysis.summary import summarise
from bench.conditions import Machine, MemoryRate, Settings, Workload
from bench.output.progress import Conditions, ended_by_signals, observed, report_progress
from bench.records import SCHEMA, Note, Results
from bench.runner import machine, worker_environment
from bench.runner.candidates import PEAK, REFERENCE, Candidate, plan
from bench.runner.machine import memory_rates
from bench.runner.revision import Before
from bench.runner.sampler import Sampler
from bench.system import tracers
from bench.system.files import check_writable, temporary_folder, write_whole
from bench.workloads.data import load, one_hot
from bench.workloads.names import check_fits, select
from bench.workloads.problem import EPOCH_EXAMPLES
from impls.registry import Entry, entries, find_all
from impls.support.errors import UserError
from impls.support.tracebacks import in_words

RUNS = Path("results/runs")  # of the current folder: a run that is not given a folder gets one of its own here
REPORT = "report.html"
RECORDINGS = Path("profiles")  # of the current folder: where `backprop profile` puts them


@dataclass(frozen=True)
class Asked:
    """What the user asked for."""

    implementations: tuple[str, ...] = ()  # names and path/to/file.py:Class, LABEL= before them or not; none: the usual
    all_rows: bool = False  # the frameworks' implementations, too, and those that cannot run here
    workloads: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()
    data: str | None = None
    folder: Path | None = None  # for the results; None: one of its own
    settings: Settings = field(default_factory=Settings)
    against: str | None = None  # a revision or a folder, whose implementations are timed, too
    timed: bool = True  # or each implementation is only checked and called, and nothing is written


class Run:
    """One run, from what was asked for to the files."""

    def __init__(self, asked: Asked) -> None:
        """Resolve what was asked for. Raises UserError for a mistake, before anything is measured."""
        with ExitStack() as stack:
            self.candidates = _planned(asked, stack)
            self.dataset = load(asked.data)
            self._stack = stack.pop_all()
        self._asked = asked
        self.timed = asked.timed
        self.settings = asked.settings
        if not asked.timed:
            self.settings = msgspec.structs.replace(asked.settings, generations=1, workload_seconds=0)
        self.results: Results | None = None  # once the samples were taken
        self.failed = False  # by a fault of the benchmark itself: not all samples were taken, or not all files made
        self.selected: set[tuple[str, str]] = set()  # implementations to sample, by workload and label
        self._sampler: Sampler | None = None

    def close(self) -> None:
        """Remove what the run needed for itself."""
        self._stack.close()

    def select(self, results: Iterable[tuple[str, str]]) -> None:
        """Choose what to sample, by workload and label; the baseline and the control of a workload come along."""
        chosen = set(results)
        workloads = {workload for workload, _ in chosen}
        baselines = {(name, c.label) for name in workloads for c in self.candidates[name] if c.is_baseline}
        self.selected = chosen | baselines

    def sample(self, console: Console) -> Results:
        """Take the samples of what was selected and return the results.

        From the last sample on, signals are ignored: what was sampled is being kept.
        Raises UserError if the results could not be written: better before a run than after it.
        """
        if self.timed:
            check_writable(self._asked.folder or RUNS)
        self._stack.enter_context(ended_by_signals(lambda: self._sampler is not None and self._sampler.ended))
        selected = {
            workload: [candidate for candidate in candidates if (workload, candidate.label) in self.selected]
            for workload, candidates in self.candidates.items()
        }
        selected = {workload: candidates for workload, candidates in selected.items() if candidates}
        workloads = [candidates[0].workload for candidates in selected.values()]
        examples = max(workload.epoch_examples or EPOCH_EXAMPLES for workload in workloads)
        data = self.dataset.x_train[:examples], one_hot(self.dataset.labels_train[:examples])
        memory, notes = _memory_rates([workload.threads for workload in workloads]) if self.timed else ([], [])
        with observed() as conditions, report_progress(console) as progress:
            self._sampler = Sampler(selected, self.settings, data, progress)
            self._sampler.run()
        facts = msgspec.structs.replace(machine.facts(), memory_rates=memory)
        self.failed = bool(self._sampler.failure)
        self.results = self._results(self._sampler, conditions, facts, notes)
        return self.results

    def _results(self, sampler: Sampler, conditions: Conditions, facts: Machine, notes: list[Note]) -> Results:
        """Return the results of what was sampled, with these notes and all others."""
        precision, epoch_examples = self.settings.precision, min(sampler.data_examples, EPOCH_EXAMPLES)
        rows = {name: [candidate.row for candidate in candidates] for name, candidates in sampler.candidates.items()}
        all_rows = [row for rows_of_workload in rows.values() for row in rows_of_workload]
        references = {name: sampler.rate(name, REFERENCE) for name in rows}
        workloads = [
            summarise(
                candidates[0].workload,
                rows[name],
                sampler.rate(name, PEAK),
                references[name],
                epoch_examples,
                precision,
            )
            for name, candidates in sampler.candidates.items()
        ]
        if self.timed:
            notes = [
                *notes,
                *note_on_variables(facts),
                *note_on_environment(worker_environment.debugging(), tracers.KEEP, kept=tracers.kept()),
                *notes_on_tracing(all_rows),
                *note_on_kernels(facts, all_rows),
                *notes_on_missing_rates(NO_PEAK, {name: sampler.rate(name, PEAK) for name in rows}),
                *notes_on_missing_rates("no reference rate", references),
            ]
        return Results(
            schema=SCHEMA,
            date=conditions.date.isoformat(timespec="seconds"),
            duration_seconds=conditions.duration_seconds,
            data=self.dataset.name,
            interrupted=sampler.interrupted,
            settings=self.settings,
            machine=facts,
            load_average_before=conditions.load_average,
            steal_percent=conditions.steal_percent,
            other_cpus=conditions.other_cpus,
            throttled_seconds=conditions.throttled_seconds,
            against=self._asked.against or "",
            workloads=workloads,
            rows=all_rows,
            notes=[
                *notes_on_run(sampler.interrupted, conditions.steal_percent, conditions.other_cpus, sampler.failure),
                *notes_on_quota(facts, conditions.duration_seconds, conditions.throttled_seconds),
                *conditions.cpus_changed,
                *notes,
                *notes_on_workloads(rows.values(), precision),
            ],
        )

    def write(self, content: dict[str, Any]) -> Iterator[str]:
        """Write the results file, then what is made of it, and give a line about each file as soon as it is there.

        `content` is the whole of the JSON. A run without a folder of its own leaves copies of the latest beside the
        runs. Raises UserError if the results file cannot be written; what cannot be made of it is `failed`, in a line.
        """
        assert self.results is not None
        own_folder = self._asked.folder
        folder = own_folder or _new_folder(datetime.fromisoformat(self.results.date))
        path = folder / RESULTS
        write_whole(path, json.dumps(content, default=str) + "\n")
        if own_folder is None:
            write_whole(LATEST, path.read_bytes())
        yield f"results: {path}"
        for kind, make in (("table", _table), ("plot", _plots), ("report", _report)):
            try:
                for made in make(self.results, folder):
                    yield f"{kind}: {made}"
                    if own_folder is None:
                        write_whole(LATEST.parent / made.name, made.read_bytes())
            except UserError as error:
                self.failed = True
                yield f"error: {error}"
            except Exception as error:  # A fault of what draws one file costs no other file.
                self.failed = True
                yield f"error: {in_words(error)}; try again: backprop plot {path}, backprop report {path}"


def _planned(asked: Asked, stack: ExitStack) -> dict[str, list[Candidate]]:
    """Return the candidates of each workload; the folder for those of another revision is gone with the stack."""
    if asked.implementations:
        chosen = find_all(asked.implementations)
    else:
        known = entries().values()
        chosen = [entry for entry in known if asked.all_rows or not (entry.framework or entry.unavailable())]
    if asked.against:
        before = Before(asked.against, stack.enter_context(temporary_folder())).entries(chosen)
        both = {entry.name for entry in before} & {entry.name for entry in chosen}
        if both:
            raise UserError(f"--against: two implementations would be called {min(both)!r}; give yours another label")
        chosen = [*chosen, *before]
    workloads = select(asked.workloads, asked.sweeps)
    candidates = {
        name: plan(workload, [entry for entry in chosen if asked.implementations or _is_usual(entry, workload)])
        for name, workload in workloads.items()
    }
    counts = {name: len(candidates_of_workload) for name, candidates_of_workload in candidates.items()}
    check_fits(counts, workloads, EPOCH_EXAMPLES)
    return candidates


def _is_usual(entry: Entry, workload: Workload) -> bool:
    """Return whether an implementation is timed unasked: one rank alone is its engine once more."""
    return not entry.ranks or workload.threads > 1 or workload.sweep in ("threads", "strong", "weak")


def _memory_rates(threads: Iterable[int]) -> tuple[list[MemoryRate], list[Note]]:
    """Return the memory rates and no note, or no rates and a note that says why: no result is lost for them."""
    try:
        return memory_rates(threads), []
    except (RuntimeError, MemoryError, OSError) as error:  # There is no room for another thread or for the arrays.
        return [], [Note(f"no memory rates: {in_words(error)}")]


def _table(results: Results, folder: Path) -> list[Path]:
    from bench.output.table import markdown

    path = folder / "speedups.md"
    write_whole(path, markdown(results))
    return [path]


def _plots(results: Results, folder: Path) -> Iterable[Path]:
    from bench.output.plots.run_plots import draw  # matplotlib takes half a second

    return draw(results, folder)


def _report(results: Results, folder: Path) -> list[Path]:
    from bench.analysis.scaling import FILE as SCALING
    from bench.analysis.scaling import read as read_scaling
    from bench.output.page.page import page
    from profiles.page import recorded

    path, recordings, scaling = folder / REPORT, [], None
    with suppress(UserError):  # `backprop report` says what is wrong with them
        recordings = recorded(RECORDINGS)
    with suppress(UserError):
        scaling = read_scaling(SCALING)
    write_whole(path, page(results, recordings, scaling=scaling))
    return [path]


def _new_folder(date: datetime) -> Path:
    """Return a folder for a run of that date which no other run has."""
    stamp = f"{date:%Y-%m-%d-%H%M%S}"
    for attempt in count(1):
        folder = RUNS / (f"{stamp}-{attempt}" if attempt > 1 else stamp)
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder
