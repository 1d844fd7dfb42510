"""Figures of the reference runs, as text: what the markers in pages name (bench/report/pages.py)."""

import statistics
from functools import cache

from bench.records import CONTROL, Estimate, Rate, Results, Row, WorkloadResult
from bench.report.text import cpus_text, estimate_text, flops_text, number_text, seconds_text
from bench.results.compare_rows import compare_rows
from bench.results.files import read
from impls import ROOT
from impls.errors import UserError

REFERENCE = ROOT / "results" / "reference"
NOT_MEASURED = "–"  # what a page has of a rate that a run did not measure


@cache
def reference(run: str) -> Results:
    """Return a reference run. Raises UserError if there is none of that name."""
    return read(REFERENCE / run / "results.json")


def control_runs(folder: str = "control") -> list[str]:
    """Return the names of the A/A runs, or of those in another folder."""
    return [f"{folder}/{path.name}" for path in sorted((REFERENCE / folder).iterdir()) if path.is_dir()]


def timed_row(run: str, workload: str, label: str) -> Row:
    """Return a row with a time. Raises UserError if the run has none."""
    row = reference(run).row(workload, label)
    if row is None or not row.timed:
        raise UserError(f"figures: the reference run {run!r} has no time of {label} on {workload}")
    return row


def workload_of(run: str, name: str) -> WorkloadResult:
    """Return a workload. Raises UserError if the run has none of that name."""
    found = reference(run).workload(name)
    if found is None:
        raise UserError(f"figures: the reference run {run!r} has no workload {name}")
    return found


def estimate(run: str, workload: str, row: str, over: str = "") -> Estimate:
    """Return a speed-up over the baseline, or over another row."""
    found = timed_row(run, workload, row)
    over = over or workload_of(run, workload).workload.baseline_label
    return compare_rows(reference(run), over, found.label)[workload].ratio


def speed_up(run: str, workload: str, row: str, over: str = "") -> str:
    """Return a speed-up over the baseline, or over another row, with its interval."""
    return estimate_text(estimate(run, workload, row, over))


def ratio(run: str, workload: str, row: str, over: str = "") -> str:
    """Return a speed-up without its interval."""
    return number_text(estimate(run, workload, row, over).value)


def peak(run: str, workload: str, over: str = "") -> str:
    """Return the speed-up, over the baseline or another row, at which a row would be at the peak."""
    of = workload_of(run, workload)
    row = timed_row(run, workload, over or of.workload.baseline_label)
    return NOT_MEASURED if of.peak_seconds is None else number_text((row.seconds or 0.0) / of.peak_seconds)


def peak_rate(run: str, workload: str) -> str:
    """Return the peak: 58.5 Gflop/s."""
    return _rate(workload_of(run, workload).peak)


def reference_rate(run: str, workload: str) -> str:
    """Return the rate of NumPy's large product: 51.8 Gflop/s."""
    return _rate(workload_of(run, workload).reference)


def reference_percent(run: str, workload: str) -> str:
    """Return the reference rate in per cent of the peak: 88."""
    found = workload_of(run, workload).reference_percent
    return NOT_MEASURED if found is None else f"{found:.0f}"


def _rate(rate: Rate | None) -> str:
    return f"{flops_text(rate.flops_per_second)}/s" if rate and rate.flops_per_second else NOT_MEASURED


def threads(run: str, workload: str) -> str:
    """Return the number of threads of a workload, as it was run: 2."""
    return str(workload_of(run, workload).workload.threads)


def percent(run: str, workload: str, row: str) -> str:
    """Return a row's per cent of the peak."""
    found = timed_row(run, workload, row).percent_of_peak
    return NOT_MEASURED if found is None else f"{found.value:.0f}"


def time(run: str, workload: str, row: str) -> str:
    """Return the time of a call."""
    return seconds_text(timed_row(run, workload, row).seconds or 0.0)


def conditions(run: str) -> str:
    """Return where and when a run was made, in one sentence."""
    results = reference(run)
    machine = results.machine
    rows = len({row.label for row in results.rows if row.timed and not row.is_control and "@" not in row.label})
    minutes = results.duration_seconds / 60
    virtual = ", a virtual machine" if machine.hypervisor else ""
    told = "".join(f"; {name}={value}" for name, value in (machine.variables or {}).items())
    return (
        f"{machine.cpu_model}{virtual}, {cpus_text(machine)}; Python {machine.python}, "
        f"NumPy {machine.versions.get('numpy', '?')} with {machine.numpy_blas}; {results.data}; "
        f"{rows} rows, {results.settings.generations} processes each, {minutes:.1f} minutes{told}; {results.date[:10]}"
    )


def widths(run: str) -> str:
    """Return the median and the largest half-width of a run's intervals: ± 0.9 %, at most ± 4 %."""
    found = [
        row.speed_up.half_width for row in reference(run).rows if row.speed_up and row.speed_up.half_width is not None
    ]
    return f"± {number_text(100 * statistics.median(found), 2)} %, at most ± {number_text(100 * max(found), 2)} %"


def overhead(run: str) -> str:
    """Return the harness's largest share of a sample: 0.9 %."""
    found = [process.overhead_percent for row in reference(run).rows if row.timed for process in row.processes]
    return f"{number_text(max(found), 2)} %"


def held(label: str = CONTROL, over: str = "", folder: str = "control") -> str:
    """Return in how many of the A/A runs the interval of the control, or of another row, held 1: 10 of 10."""
    found = [estimate(run, "book", label, over) for run in control_runs(folder)]
    return f"{sum(each.holds(1.0) for each in found)} of {len(found)}"


def told_slower(label: str, over: str, folder: str = "control") -> str:
    """Return in how many of the A/A runs the interval said that a row is slower than another one: 29 of 30."""
    found = [estimate(run, "book", label, over) for run in control_runs(folder)]
    return f"{sum(each.high is not None and each.high < 1.0 for each in found)} of {len(found)}"


def half_width(label: str, over: str = "", folder: str = "control") -> str:
    """Return the median, over the A/A runs, of a row's half-width: ± 0.8 %."""
    found = [estimate(run, "book", label, over).half_width or 0.0 for run in control_runs(folder)]
    return f"± {number_text(100 * statistics.median(found), 2)} %"


def generations_of(folder: str) -> str:
    """Return the fewest and the most generations of the runs in a folder: 12 to 31."""
    rows = [timed_row(run, "book", CONTROL) for run in control_runs(folder)]
    found = [len(row.processes) for row in rows]
    return f"{min(found)} to {max(found)}"


def control_range(what: str) -> str:
    """Return the lowest and the highest value over the A/A runs: 0.31 to 0.48.

    `what` is overhead (the harness's largest share of a sample, %), steal (%), half_width (of all intervals, %) or
    duration (of a run, s).
    """
    values: list[float] = []
    for of in map(reference, control_runs()):
        if what == "overhead":
            values.append(max(p.overhead_percent for row in of.rows if row.timed for p in row.processes))
        elif what == "steal":
            values += [] if of.steal_percent is None else [of.steal_percent]
        elif what == "half_width":
            widths = [row.speed_up.half_width for row in of.rows if row.speed_up]
            values += [100 * width for width in widths if width is not None]
        elif what == "duration":
            values.append(of.duration_seconds)
        else:
            raise UserError(f"figures: control_range: expected overhead, steal, half_width or duration, found {what!r}")
    if not values:
        raise UserError(f"figures: the A/A runs have no {what}")
    return f"{number_text(min(values), 2)} to {number_text(max(values), 2)}"
