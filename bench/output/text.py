"""Figures as text: times with their units, ratios and intervals with as many digits as they deserve, outcomes."""

import math

from bench.conditions import Machine
from bench.records import Estimate, Outcome

SHORT_OUTCOMES = {
    Outcome.UNAVAILABLE: "–",
    Outcome.INTERRUPTED: "–",
    Outcome.TOO_SLOW: "slow",
    Outcome.TIMED_OUT: "hung",
    Outcome.CRASHED: "crash",
    Outcome.INCORRECT: "incorr.",
    Outcome.INCORRECT_AFTER_TIMING: "incorr.",
    Outcome.RETURNED_EARLY: "early",
    Outcome.INCONSISTENT_TIMING: "incons.",
}
UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def cpus_text(machine: Machine) -> str:
    """Return how many CPUs a run could use: 2 CPUs; 4 CPUs on 2 cores; 64 CPUs on 32 cores, CPU quota 1.5."""
    shared = len(machine.siblings) if machine.siblings else machine.usable_cpus
    on = "" if shared == machine.usable_cpus else f" on {shared} core" + "s" * (shared != 1)
    quota = "" if machine.cpu_quota is None else f", CPU quota {number_text(machine.cpu_quota)}"
    return f"{machine.usable_cpus} CPUs{on}{quota}"


def seconds_text(seconds: float) -> str:
    """Return a time with three significant digits and its unit: 31.4 µs, 2.05 ms, 1.20 s."""
    for unit, scale in UNITS:
        if seconds >= 0.9995 * scale:
            value = seconds / scale
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{seconds:.3g} s"


def number_text(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits and no exponent: 0.0196, 7.65, 22.7, 1190."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(float(f'{value:.{digits - 1}e}')))))}f}"


def estimate_text(estimate: Estimate) -> str:
    """Return a value with its interval: 7.65 (7.57 to 7.73)."""
    return number_text(estimate.value) + (f" ({interval_text(estimate)})" if estimate.low is not None else "")


def interval_text(estimate: Estimate) -> str:
    """Return the interval alone: 7.57 to 7.73; nothing where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{number_text(estimate.low)} to {number_text(estimate.high)}"


def margin_text(estimate: Estimate) -> str:
    """Return a value with half of its interval: 7.65 ± 0.08."""
    if estimate.low is None or estimate.high is None:
        return number_text(estimate.value)
    return f"{number_text(estimate.value)} ± {number_text((estimate.high - estimate.low) / 2, 1)}"


def flops_text(flops: float) -> str:
    """Return a number of floating-point operations with its unit: 959 kflop, 2.2 Gflop."""
    for unit, scale in (("Gflop", 1e9), ("Mflop", 1e6), ("kflop", 1e3)):
        if flops >= scale:
            return f"{number_text(flops / scale)} {unit}"
    return f"{flops:.0f} flop"


def short_outcome(outcome: Outcome) -> str:
    """Return an outcome in eight letters at most."""
    return SHORT_OUTCOMES.get(outcome, outcome)
