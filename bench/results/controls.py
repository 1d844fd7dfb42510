"""The controls of a run: what identical code seemed to differ by, and whether that can be chance."""

from collections.abc import Sequence

from bench.records import Row
from bench.results.estimates import holds_jointly, pairs


def measured_controls(rows: Sequence[Row]) -> list[Row]:
    """Return the controls that have an interval, one a workload."""
    return [row for row in rows if row.is_control and row.speed_up is not None and row.speed_up.half_width is not None]


def controls_off(rows: Sequence[Row]) -> list[str]:
    """Return the workloads whose control does not hold, of a run's rows; each baseline is the first of its workload.

    All controls together are judged at 95 %: a run of unchanged code has one that does not hold in one case of twenty,
    however many workloads it has. A 95 % interval of its own may exclude 1 without that.
    """
    controls = measured_controls(rows)
    baselines: dict[str, Row] = {}
    for row in rows:
        baselines.setdefault(row.workload, row)
    off = []
    for control in controls:
        processes = len(pairs(baselines[control.workload].samples, control.samples))
        if control.speed_up and not holds_jointly(control.speed_up, 1.0, processes, len(controls)):
            off.append(control.workload)
    return off
