"""Every run of a folder in order: rows from run to run, broken where the machine or the versions changed."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.analysis.results_files import RESULTS, read
from bench.records import Estimate, Results
from impls.support.errors import UserError
from impls.support.needs import backprop_command

STORED = "[0-9][0-9][0-9][0-9]_*.json"  # the names of runs that pytest-benchmark stores, in .benchmarks/MACHINE
PATTERNS = (RESULTS, f"*/{RESULTS}", STORED, f"*/{STORED}")


class HistoryPoint(msgspec.Struct, frozen=True):
    """A row in one run."""

    date: str
    speed_up: Estimate
    stretch: int  # runs of one number are on one machine, with the same versions


class Line(msgspec.Struct, frozen=True):
    """A row on a workload, from run to run, in the order of their dates."""

    workload: str
    label: str
    points: list[HistoryPoint]

    @property
    def stretches(self) -> list[list[HistoryPoint]]:
        """Return the points, those of each machine and its versions together."""
        return [list(points) for _, points in itertools.groupby(self.points, lambda point: point.stretch)]


class Stretch(msgspec.Struct, frozen=True):
    """The first of the runs on one machine with the same versions, and what changed just before it."""

    date: str
    changed: str  # "" for the first stretch


class History(msgspec.Struct, frozen=True):
    """All rows of all runs."""

    runs: int
    stretches: list[Stretch]
    lines: list[Line]


def runs_of(paths: Sequence[Path]) -> tuple[list[Results], list[str]]:
    """Return the runs in files and in folders, and why other files there were not read.

    A folder holds runs' folders, or what pytest-benchmark stored. Raises UserError if there is no run at all.
    """
    runs, skipped = [], []
    given = [path for path in paths if path.is_file()]
    inside = [file for path in paths for pattern in PATTERNS for file in sorted(path.glob(pattern))]
    for file in dict.fromkeys(given + inside):
        try:
            runs.append(read(file))
        except UserError as error:
            skipped.append(str(error))
    if not runs:
        nothing = f"{', '.join(map(str, paths))}: expected folders of runs, found none"
        raise UserError(skipped[0] if skipped else f"{nothing}; make some with: {backprop_command('bench')}")
    return runs, skipped


def history(runs: Iterable[Results]) -> History:
    """Return how every row's speed-up went; the control and rows that were not timed are left out."""
    ordered = sorted(runs, key=lambda run: run.started)
    stretches: list[Stretch] = []
    points: dict[tuple[str, str], list[HistoryPoint]] = {}
    conditions: dict[str, str] = {}
    for run in ordered:
        before, conditions = conditions, _conditions(run)
        if conditions != before:
            stretches.append(Stretch(run.date, _changes(before, conditions) if stretches else ""))
        for row in run.rows:
            if row.speed_up is not None and not row.is_control:
                point = HistoryPoint(run.date, row.speed_up, len(stretches) - 1)
                points.setdefault((row.workload, row.label), []).append(point)
    return History(len(ordered), stretches, [Line(*key, of_row) for key, of_row in points.items()])


def _conditions(run: Results) -> dict[str, str]:
    machine = run.machine
    return {
        "processor": machine.cpu_model,
        "CPUs": str(machine.usable_cpus),
        "CPU quota": str(machine.cpu_quota or "none"),
        "BLAS": machine.numpy_blas,
        "Python": machine.python,
        "data": run.data,
        **dict(sorted(machine.versions.items())),
    }


def _changes(before: dict[str, str], now: dict[str, str]) -> str:
    changed = [name for name in now | before if now.get(name) != before.get(name)]
    return ", ".join(f"{name} {now.get(name, 'missing')}" for name in changed)
