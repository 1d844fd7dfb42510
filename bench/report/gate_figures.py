"""Figures of what a gate makes of committed runs: of unchanged code, and of rows made slower on purpose."""

import msgspec

from bench.records import BEFORE, Results
from bench.report.figures import control_runs, reference
from bench.report.text import number_text
from bench.results.before import compare_with_before
from bench.results.compare_runs import compare_runs
from bench.results.limits import Limits
from bench.results.verdict import FASTER, SLOWER, measured_floor

ROW = "in_place"  # that is made slower


def gates_failed(limit: str, label: str = ROW, folder: str = "control") -> str:
    """Return how many gates fail on a row: 20 of 20.

    Each compares a run of unchanged code with the run of that number in `folder`, or with the next one if that is the
    same; what is called `label` there is taken for the row as it has become. `limit` is as for --fail-on.
    """
    old = [reference(run) for run in control_runs()]
    new = [reference(run) for run in control_runs(folder)] if folder != "control" else old[1:]
    failed = [
        any(change.label == ROW for change in compare_runs(before, _renamed(now, label, ROW), asked, gate=True).failed)
        for before, now in zip(old, new, strict=False)
        if (asked := Limits(fail_on=limit))
    ]
    return f"{sum(failed)} of {len(failed)}"


def against_found(label: str) -> str:
    """Return in how many runs a row is called slower than `in_place` of the same rounds: 28 of 30."""
    found = [_against(reference(run), label) for run in control_runs()]
    return f"{found.count(SLOWER)} of {len(found)}"


def against_called(label: str) -> str:
    """Return in how many runs a row is called slower or faster than `in_place` of the same rounds: 0 of 30."""
    found = [_against(reference(run), label) for run in control_runs()]
    return f"{found.count(SLOWER) + found.count(FASTER)} of {len(found)}"


def between_runs() -> str:
    """Return by how much runs of unchanged code differ beyond what their processes explain: 0.1 %."""
    return f"{number_text(100 * measured_floor([reference(run) for run in control_runs()]), 1)} %"


def _renamed(results: Results, label: str, name: str) -> Results:
    """Return results in which a row has another label, and no other row has that one."""
    rows = [row for row in results.rows if row.label == label or row.label != name]
    renamed = [msgspec.structs.replace(row, label=name) if row.label == label else row for row in rows]
    return msgspec.structs.replace(results, rows=renamed)


def _against(results: Results, label: str) -> str:
    was = _renamed(results, ROW, f"{label}{BEFORE}")
    return next(each.verdict for each in compare_with_before(was).changes if each.label == label)
