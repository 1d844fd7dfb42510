"""When to stop measuring: `--precision=1%` starts processes until every interval is narrow enough.

To look after each process and to stop at a moment when the interval happens to be narrow is to choose the moments
at which the spread is underestimated: of plain 95 % intervals, only 93 of 100 would contain the truth. To wait until a
wider interval is narrow enough, or until it has been narrow several times, hardly helps (93.4 of 100 at best), because
the moment is chosen all the same. So a run that goes on after the first look quotes intervals of 96 %, and stops when
these are narrow enough. Simulated with processes that differ by 0.3 to 1.8 %, for a precision of 0.5, 1 and 2 %, with
at most 60 processes, 94 to 96 of 100 of them contain the truth, whatever number of processes it takes: for that reason
they are called 95 % intervals. `pytest tests/bench/analysis/test_precision.py` shows it.
"""

from collections.abc import Sequence

from bench.analysis.estimates import CONFIDENCE, Samples, paired_ratio, pairs
from bench.records import Estimate, Result

MIN_PROCESSES = 10  # before the first look
MAX_PROCESSES = 60  # after which a run ends, narrow or not
LATER_CONFIDENCE = 0.96  # nominal, of an interval of more processes than at the first look


def confidence(processes: int) -> float:
    """Return the nominal confidence with which an interval from so many processes contains the truth in 95 of 100."""
    return CONFIDENCE if processes <= MIN_PROCESSES else LATER_CONFIDENCE


def ratio(numerator: Samples, denominator: Samples, precision: float | None) -> Estimate:
    """Return numerator / denominator with its 95 % interval, for a run that stopped at a precision, or at none.

    Raises ValueError if they have no round in common.
    """
    processes = len(pairs(numerator, denominator)) if precision is not None else 0
    return paired_ratio(numerator, denominator, confidence(processes))


def narrow_enough(results: Sequence[Result], precision: float) -> bool:
    """Return whether a workload's results, of which the baseline is the first, need no more processes.

    That is so when the 95 % interval of each speed-up, the control's included, reaches at most `precision` times its
    value to either side (0.01 for 1 %), after `MIN_PROCESSES` or more. Implementations that failed are not waited for;
    if the baseline failed, no speed-up gets narrower.
    """
    baseline, *compared = results
    return not baseline.open or all(_is_narrow(result, baseline, precision) for result in compared if result.open)


def _is_narrow(result: Result, baseline: Result, precision: float) -> bool:
    if len(pairs(baseline.samples, result.samples)) < MIN_PROCESSES:
        return False
    half_width = ratio(baseline.samples, result.samples, precision).half_width
    return half_width is not None and half_width <= precision
