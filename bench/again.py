"""Rows that look slower than before, measured once more: of many rows, some look so by chance."""

import secrets
from collections.abc import Sequence

import msgspec
from rich.console import Console

from bench.problem.workloads import parse
from bench.records import Results
from bench.results.compare_runs import RowChange
from bench.run import Asked, Run
from impls.errors import UserError
from impls.registry import entries


def measure_again(new: Results, slower: Sequence[RowChange], console: Console) -> tuple[Results | None, list[str]]:
    """Measure rows of a run again as they were measured there, with the code that stands in this checkout now.

    Returns what was found, None if there was nothing to measure, and a sentence about each row that cannot be measured
    here. Progress goes to the console; no file is written.
    """
    reasons = {each: _not_at_hand(new, each) for each in slower}
    notes = [f"{each.label} on {each.workload} was not measured again: {why}" for each, why in reasons.items() if why]
    chosen = [each for each, why in reasons.items() if not why]
    if not chosen:
        return None, notes
    run = Run(
        Asked(
            implementations=tuple(dict.fromkeys(_spec(new, each) for each in chosen)),
            workloads=tuple(dict.fromkeys(each.workload for each in chosen)),
            data=new.data,
            settings=msgspec.structs.replace(new.settings, seed=secrets.randbits(32)),
        )
    )
    try:
        run.select((each.workload, each.label) for each in chosen)
        return run.sample(console), notes
    finally:
        run.close()


def _not_at_hand(new: Results, change: RowChange) -> str:
    """Return in words why a row cannot be measured here, "" if it can."""
    row = new.row(change.workload, change.label)
    known = entries()
    if row is None or row.implementation not in known:
        return "it is not one of this checkout's rows; its file is not known"
    if reason := known[row.implementation].unavailable():
        return reason
    try:
        workload = parse(change.workload)
    except UserError as error:
        return str(error)
    of = new.workload(change.workload)
    assert of is not None
    here, there = (f"{each.describe()} over {each.baseline_label}" for each in (workload, of.workload))
    return "" if here == there else f"{change.workload} is {here} now, and was {there}"


def _spec(new: Results, change: RowChange) -> str:
    """Return a row as `--impl` takes it."""
    row, of = new.row(change.workload, change.label), new.workload(change.workload)
    assert row is not None
    assert of is not None
    named = change.label not in (row.implementation, of.workload.baseline_label)
    return f"{change.label}={row.implementation}" if named else row.implementation
