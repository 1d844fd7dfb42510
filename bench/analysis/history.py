"""Speed-ups from run to run, in stretches on one machine with the same versions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.compare_runs import machine_facts, versions
from bench.analysis.results_files import RESULTS, read
from bench.records import Estimate, Results
from impls.support.errors import UserError
from impls.support.needs import backprop_command

STORED = "[0-9][0-9][0-9][0-9]_*.json"  # the names of runs that pytest-benchmark stores, in .benchmarks/MACHINE
PATTERNS = (RESULTS, f"*/{RESULTS}", STORED, f"*/{STORED}")


@dataclass(frozen=True)
class Trend:
    """The speed-ups of an implementation on a workload, by stretch and in the order of the runs' dates."""

    workload: str
    label: str
    stretches: list[list[Estimate]]

    @property
    def speed_ups(self) -> list[Estimate]:
        """Return the speed-ups of all stretches."""
        return [speed_up for stretch in self.stretches for speed_up in stretch]


@dataclass(frozen=True)
class History:
    """The trends of several runs."""

    runs: int
    changes: list[tuple[str, str]]  # the date from which machine or versions are others, and which
    trends: list[Trend]


def runs_of(paths: Sequence[Path]) -> tuple[list[Results], list[str]]:
    """Return the runs in files and in folders, and why other files there were not read.

    A folder holds runs' folders, or what pytest-benchmark stored. Raises UserError if there is no run at all.
    """
    runs, skipped = [], []
    files = [path for path in paths if path.is_file()]
    inside = [file for path in paths for pattern in PATTERNS for file in sorted(path.glob(pattern))]
    for file in dict.fromkeys(files + inside):
        try:
            runs.append(read(file))
        except UserError as error:
            skipped.append(str(error))
    if not runs:
        nothing = f"{', '.join(map(str, paths))}: expected folders of runs, found none"
        raise UserError(skipped[0] if skipped else f"{nothing}; make some with: {backprop_command('bench')}")
    return runs, skipped


def history(runs: Iterable[Results]) -> History:
    """Return the trend of every implementation that was timed, without the control, on every workload."""
    ordered = sorted(runs, key=lambda run: run.started)
    changes = []
    stretches: dict[tuple[str, str], dict[int, list[Estimate]]] = {}
    conditions: dict[str, str] = {}
    for run in ordered:
        before, conditions = conditions, machine_facts(run) | versions(run)
        if before and conditions != before:
            changes.append((run.date, _changes(before, conditions)))
        for result in run.rows:
            if result.speed_up is not None and not result.is_control:
                by_stretch = stretches.setdefault((result.workload, result.label), {})
                by_stretch.setdefault(len(changes), []).append(result.speed_up)
    trends = [Trend(*place, list(by_stretch.values())) for place, by_stretch in stretches.items()]
    return History(len(ordered), changes, trends)


def _changes(before: dict[str, str], now: dict[str, str]) -> str:
    changed = [name for name in now | before if now.get(name) != before.get(name)]
    return ", ".join(f"{name} {now.get(name, 'missing')}" for name in changed)
