"""How sure we are: speed-ups with intervals from paired samples of several processes.

A disturbance only ever adds time. So the time of a process is the lower quartile of its samples: nearer to what it
takes undisturbed than the median, which moves as soon as half of the rounds are disturbed, and steadier than the
minimum, which one lucky round decides. With fewer than `FEW_ROUNDS` samples it is close to the minimum all the same.
And it forgives a row its own jitter: what is slow in up to three quarters of the samples does not show in it.
`jitter` tells.

Samples of one process share what was drawn when the process started (memory layout, most of all), so the process,
not the sample, is the unit of the interval. Each generation gives one number, the ratio of two lower quartiles over
the same rounds; the interval is Student's t on the logarithms of these numbers. A percentile bootstrap at these
counts is too narrow.

There is one estimator, so that the columns of a table agree. The seconds of the baseline are the geometric mean over
generations of its lower quartile over all its rounds. A row's speed-up is the geometric mean of its paired ratios, and
its seconds are the baseline's divided by that: what a call of it would have taken over all the rounds of the baseline,
although a slow row is sampled in every fifth of them only. A row without a speed-up has the geometric mean of its own
lower quartiles. Rows that were sampled in the same rounds have exactly that mean either way, so that for them the ratio
of two times, what `compare` says and the ratio of two shares of one rate are the same number, too.

`tests/bench/analysis/test_estimates.py` shows by simulation how often the interval contains the truth: ten processes
that differ by 0.5 to 1.3 %, 5 to 40 rounds or 5 of 25, noise that only adds, with a heavy tail, and drift: in 94 to 96
of 100 runs.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from bench.records import Estimate, Row

CONFIDENCE = 0.95  # of the intervals that are shown
FEW_ROUNDS = 5  # with fewer than these, the lower quartile is close to the minimum
OUTLIER = 10.0  # times the median
Generations = Sequence[Mapping[int, float]]  # seconds by round, of each generation
Pair = tuple[list[float], list[float]]  # the seconds of two rows in the rounds of a generation that both have


def paired_ratio(numerator: Generations, denominator: Generations, confidence: float = CONFIDENCE) -> Estimate:
    """Return numerator / denominator with its interval, from samples paired by generation and round.

    Rounds that only one of them has count for nothing, nor do generations without a pair. Raises ValueError if
    there is no pair at all.
    """
    ratios = [lower_quartile(one) / lower_quartile(other) for one, other in pairs(numerator, denominator)]
    if not ratios:
        raise ValueError("paired_ratio: expected at least one round that both have, got none")
    return geometric_mean(ratios, confidence)


def pairs(one: Generations, other: Generations) -> list[Pair]:
    """Return the samples of two rows in the rounds that both have, of each generation that has such rounds."""
    paired = []
    for first, second in zip(one, other, strict=False):
        rounds = sorted(first.keys() & second.keys())
        if rounds:
            paired.append(([first[number] for number in rounds], [second[number] for number in rounds]))
    return paired


def typical_rounds(paired: Sequence[Pair]) -> int:
    """Return how many rounds a process has in common with the other row's: the median over generations."""
    return statistics.median_low(len(one) for one, _ in paired)


def seconds(samples: Generations) -> float:
    """Return the geometric mean over generations of the lower quartile over rounds."""
    return seconds_estimate(samples).value


def seconds_estimate(samples: Generations) -> Estimate:
    """Return the seconds of a call with their interval over processes; pairs are better where there are any."""
    return geometric_mean([lower_quartile(list(rounds.values())) for rounds in samples if rounds])


def lower_quartile(values: Sequence[float]) -> float:
    """Return the value below which a quarter of them lie, interpolated; of a single one, itself."""
    return statistics.quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]


def geometric_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the geometric mean with Student's t interval on the logarithms: exp(m ± t * s / sqrt(n))."""
    logs = [math.log(value) for value in values]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Estimate(math.exp(mean))
    margin = student_quantile(len(logs) - 1, confidence) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Estimate(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin))


def holds_jointly(estimate: Estimate, value: float, processes: int, intervals: int) -> bool:
    """Return whether an interval holds a value, made so wide that all of several such intervals hold together.

    It is from so many processes. One of 9 intervals of 95 % each misses the truth in 37 % of runs; with Bonferroni's
    1 - 0.05 / 9 each, in 5 %.
    """
    if estimate.low is None or estimate.high is None or processes < 2:
        return estimate.holds(value)
    joint = 1 - (1 - CONFIDENCE) / intervals
    wider = student_quantile(processes - 1, joint) / student_quantile(processes - 1, CONFIDENCE)
    low, high = (wider * (math.log(bound) - math.log(estimate.value)) for bound in (estimate.low, estimate.high))
    return low <= math.log(value) - math.log(estimate.value) <= high


def measured_controls(rows: Sequence[Row]) -> list[Row]:
    """Return the A/A controls that have an interval, one a workload."""
    return [row for row in rows if row.is_control and row.speed_up is not None and row.speed_up.half_width is not None]


def controls_off(rows: Sequence[Row]) -> list[str]:
    """Return the workloads whose A/A control failed; each baseline is the first of its workload.

    All controls together are judged at 95 %: a run of unchanged code has one that fails in one case of twenty, however
    many workloads it has. A 95 % interval of its own may exclude 1 without that.
    """
    controls = measured_controls(rows)
    off = []
    for control in controls:
        baseline = next(row for row in rows if row.workload == control.workload)
        processes = len(pairs(baseline.samples, control.samples))
        if control.speed_up and not holds_jointly(control.speed_up, 1.0, processes, len(controls)):
            off.append(control.workload)
    return off


def student_quantile(freedom: float, confidence: float) -> float:
    """Return how many standard errors a two-sided interval of Student's t reaches from the mean."""
    from scipy.special import stdtrit  # takes 0.3 s, scipy.stats 0.7 s

    return float(stdtrit(freedom, (1 + confidence) / 2))


def jitter(row: Generations, baseline: Generations) -> Estimate | None:
    """Return how far a row's upper quartile is from its lower one, relative to the baseline in the same rounds.

    A disturbance from outside hits both alike. 1.4 tells that a quarter of the row's samples take 40 % longer than
    its time says, for a reason of its own. None if no generation has the four rounds that it takes.
    """
    ratios = [_quartile_ratio(one) / _quartile_ratio(other) for one, other in pairs(row, baseline) if len(one) >= 4]
    return geometric_mean(ratios) if ratios else None


def _quartile_ratio(values: Sequence[float]) -> float:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high / low


def outliers(samples: Generations) -> int:
    """Return how many samples took more than ten times their generation's median: a compiler ran, or worse."""
    return sum(
        seconds > OUTLIER * statistics.median(rounds.values()) for rounds in samples for seconds in rounds.values()
    )


def spread(samples: Generations) -> float | None:
    """Return the interquartile range within a generation relative to its median, the median over generations.

    None if no generation has the four samples that it takes.
    """
    spreads = []
    for rounds in samples:
        if len(rounds) >= 4:
            low, middle, high = statistics.quantiles(rounds.values(), n=4)
            spreads.append((high - low) / middle)
    return statistics.median(spreads) if spreads else None
