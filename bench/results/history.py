"""Every run of a folder in order: rows from run to run, broken where the machine or the versions changed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.records import Estimate, Results
from bench.results.files import RESULTS, read
from impls.errors import UserError
from impls.needs import backprop_command

STORED = "[0-9][0-9][0-9][0-9]_*.json"  # the names of runs that pytest-benchmark stores, in .benchmarks/MACHINE


class Point(msgspec.Struct, frozen=True):
    """A row in one run."""

    date: str
    speed_up: Estimate
    stretch: int  # runs of one number are on one machine, with the same versions


class Line(msgspec.Struct, frozen=True):
    """A row on a workload, from run to run, in the order of their dates."""

    workload: str
    label: str
    points: list[Point]

    @property
    def stretches(self) -> list[list[Point]]:
        """Return the points, those of each machine and its versions together."""
        found: dict[int, list[Point]] = {}
        for point in self.points:
            found.setdefault(point.stretch, []).append(point)
        return list(found.values())


class Stretch(msgspec.Struct, frozen=True):
    """Runs on one machine with the same versions: when the first one was, and what changed then."""

    date: str
    changed: str  # "" for the first one


class History(msgspec.Struct, frozen=True):
    """All rows of all runs."""

    runs: int
    stretches: list[Stretch]
    lines: list[Line]


class Runs(NamedTuple):
    """Runs that were read, and why other files were not, a line each."""

    results: list[Results]
    skipped: list[str]


def runs_of(paths: Sequence[Path]) -> Runs:
    """Return the runs in files and in folders; what is no run or cannot be read is skipped.

    A folder holds runs' folders, or what pytest-benchmark stored. Raises UserError if there is no run at all.
    """
    results, skipped = [], []
    for file in dict.fromkeys(file for path in paths for file in _files(path)):
        try:
            results.append(read(file))
        except UserError as error:
            skipped.append(str(error))
    if not results and skipped:
        count = len(skipped) - 1
        more = (
            f" (and {count} more {'files that are' if count > 1 else 'file that is'} no run, either)" if count else ""
        )
        raise UserError(f"{skipped[0]}{more}")
    if not results:
        given = ", ".join(map(str, paths))
        raise UserError(f"{given}: expected folders of runs, found none; make some with: {backprop_command('bench')}")
    return Runs(results, skipped)


def _files(path: Path) -> list[Path]:
    """Return the files that may hold runs: the given one, or those in a folder and in its subfolders."""
    if not path.is_dir():
        return [path] if path.suffix or path.exists() else []
    return sorted(
        file for pattern in (RESULTS, STORED) for within in ("", "*/") for file in path.glob(within + pattern)
    )


def history(runs: Iterable[Results]) -> History:
    """Return how every row's speed-up went; the control and rows that were not timed are left out."""
    ordered = sorted(runs, key=lambda run: run.started)
    stretches: list[Stretch] = []
    points: dict[tuple[str, str], list[Point]] = {}
    for number, run in enumerate(ordered):
        before = ordered[number - 1] if number else None
        changed = _changed(before, run) if before else ""
        if before is None or changed:
            stretches.append(Stretch(run.date, changed))
        for row in run.rows:
            if row.speed_up is not None and not row.is_control:
                key = row.workload, row.label
                points.setdefault(key, []).append(Point(run.date, row.speed_up, len(stretches) - 1))
    lines = [Line(workload, label, of_row) for (workload, label), of_row in points.items()]
    return History(len(ordered), stretches, lines)


def _changed(before: Results, run: Results) -> str:
    """Return in words what is another machine or version than in the run before, "" if nothing is."""
    found = [
        f"{what} {new or 'unknown'}"
        for what, old, new in (
            ("processor", before.machine.cpu_model, run.machine.cpu_model),
            ("CPUs", before.machine.usable_cpus, run.machine.usable_cpus),
            ("CPU quota", before.machine.cpu_quota or "none", run.machine.cpu_quota or "none"),
            ("BLAS", before.machine.numpy_blas, run.machine.numpy_blas),
            ("Python", before.machine.python, run.machine.python),
            ("data", before.data, run.data),
        )
        if old != new
    ]
    names = sorted(before.machine.versions | run.machine.versions)
    versions: Sequence[tuple[str, str, str]] = [
        (name, before.machine.versions.get(name, ""), run.machine.versions.get(name, "")) for name in names
    ]
    return ", ".join(found + [f"{name} {new or 'missing'}" for name, old, new in versions if old != new])
