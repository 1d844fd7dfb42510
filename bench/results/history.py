"""Every run of a folder in order: rows from run to run, broken where the machine or the versions changed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.records import Estimate, Results
from bench.results.files import read
from impls.errors import UserError
from impls.needs import backprop_command

RESULTS = "results.json"  # in the folder of a run


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


def runs_of(folder: Path) -> list[Results]:
    """Return the runs in a folder's subfolders. Raises UserError if there are none or one cannot be read."""
    paths = sorted(folder.glob(f"*/{RESULTS}"))
    if not paths:
        raise UserError(f"{folder}: expected folders of runs, found none; make some with: {backprop_command('bench')}")
    return [read(path) for path in paths]


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
