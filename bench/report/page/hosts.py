"""Several machines beside each other: the newest run of each, never pooled."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.records import Results, Row
from bench.report.palette import in_order
from bench.report.text import cpus_text, estimate_text, number_text, seconds_text


@dataclass(frozen=True)
class Cell:
    """A row on one machine."""

    speed_up: str  # or why there is none
    rest: str = ""  # its time, and the share of the peak


@dataclass(frozen=True)
class HostLine:
    """A row on all machines."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class Hosts:
    """The tables, one for each workload: a column for each machine."""

    names: list[str]
    workloads: dict[str, list[HostLine]]


def hosts(runs: Sequence[Results]) -> Hosts | None:
    """Return the newest run of each machine side by side; None if all runs are of one machine."""
    newest: dict[tuple[str, int | None, float | None], Results] = {}
    for run in sorted(runs, key=lambda each: each.started):
        newest[run.machine.kind] = run
    if len(newest) < 2:
        return None
    found = list(newest.values())
    workloads = {}
    for workload in dict.fromkeys(of.workload.name for run in found for of in run.workloads):
        labels = dict.fromkeys(row.label for run in found for row in run.rows_of(workload) if not row.is_control)
        workloads[workload] = [
            HostLine(label, [_cell(run.row(workload, label)) for run in found]) for label in in_order(labels)
        ]
    return Hosts([f"{run.machine.cpu_model}, {cpus_text(run.machine)}, {run.date[:10]}" for run in found], workloads)


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell("–")
    if row.seconds is None:
        return Cell(row.outcome)
    peak = f", {number_text(row.percent_of_peak.value, 2)} % of peak" if row.percent_of_peak else ""
    rest = f"{seconds_text(row.seconds)}{peak}"
    return Cell(estimate_text(row.speed_up) if row.speed_up else "baseline", rest)
