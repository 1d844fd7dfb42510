"""How sure we are: speed-ups with intervals from paired samples of several processes.

A disturbance only ever adds time. So the time of a process is the lower quartile of its samples: nearer to what it
takes undisturbed than the median, which moves as soon as half of the rounds are disturbed, and steadier than the
minimum, which one lucky round decides. With fewer than `FEW_ROUNDS` samples it is close to the minimum all the same.
And it hides an implementation's own jitter: what is slow in up to three quarters of the samples does not show in it.
`jitter` measures that.

Samples of one process share what was drawn when the process started (memory layout, most of all), so the process,
not the sample, is the unit of the interval. Each process gives one number, the ratio of two lower quartiles over
the same rounds; the interval is Student's t on the logarithms of these numbers. A percentile bootstrap at these
counts is too narrow.

There is one estimator, so that the columns of a table agree. The seconds of the baseline are the geometric mean over
processes of its lower quartile over all its rounds. A result's speed-up is the geometric mean of its paired ratios, and
its seconds are the baseline's divided by that: what a call of it would have taken over all the rounds of the baseline,
although a slow implementation is sampled in every fifth of them only. One without a speed-up has the geometric mean
of its own lower quartiles. Results that were sampled in the same rounds have exactly that mean either way, so that for
them the ratio of two times, what `compare` says and the ratio of two shares of one rate are the same number, too.

`tests/bench/analysis/test_estimates.py` shows by simulation how often the interval contains the truth: ten processes
that differ by 0.5 to 1.3 %, 5 to 40 rounds or 5 of 25, noise that only adds, with a heavy tail, and drift: in 94 to 96
of 100 runs.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from bench.records import Estimate, Result

CONFIDENCE = 0.95  # of the intervals that are shown
FEW_ROUNDS = 5  # with fewer than these, the lower quartile is close to the minimum
OUTLIER = 10.0  # times the median
Samples = Sequence[Mapping[int, float]]  # seconds by round, of each process
Pair = tuple[list[float], list[float]]  # the seconds of two results in the rounds of a process that both have


def paired_ratio(numerator: Samples, denominator: Samples, confidence: float = CONFIDENCE) -> Estimate:
    """Return numerator / denominator with its interval, from samples paired by process and round.

    Rounds that only one of them has are ignored, and so are processes without a pair. Raises ValueError if there is no
    pair at all.
    """
    ratios = [lower_quartile(above) / lower_quartile(below) for above, below in pairs(numerator, denominator)]
    if not ratios:
        raise ValueError("paired_ratio: expected at least one round that both have, got none")
    return geometric_mean(ratios, confidence)


def pairs(first: Samples, second: Samples) -> list[Pair]:
    """Return the samples of two results in the rounds that both have, of each process that has such rounds."""
    paired = []
    for first_seconds, second_seconds in zip(first, second, strict=False):
        rounds = sorted(first_seconds.keys() & second_seconds.keys())
        if rounds:
            paired.append(([first_seconds[number] for number in rounds], [second_seconds[number] for number in rounds]))
    return paired


def seconds(samples: Samples) -> float:
    """Return the geometric mean over processes of the lower quartile over rounds."""
    return seconds_estimate(samples).value


def seconds_estimate(samples: Samples) -> Estimate:
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
    """Return whether the interval of an estimate from so many processes contains a value, widened by Bonferroni.

    All of several such intervals hold together in 95 of 100 runs. At least one of 9 intervals of 95 % each misses the
    truth in 37 % of runs; with 1 - 0.05 / 9 each, in 5 %.
    """
    if estimate.low is None or estimate.high is None or processes < 2:
        return estimate.holds(value)
    joint = 1 - (1 - CONFIDENCE) / intervals
    wider = student_quantile(processes - 1, joint) / student_quantile(processes - 1, CONFIDENCE)
    low, high = (wider * (math.log(bound) - math.log(estimate.value)) for bound in (estimate.low, estimate.high))
    return low <= math.log(value) - math.log(estimate.value) <= high


def measured_controls(results: Sequence[Result]) -> list[Result]:
    """Return the A/A controls that have an interval, one a workload."""
    return [result for result in results if result.is_control and result.speed_up and result.speed_up.low is not None]


def failed_controls(results: Sequence[Result]) -> list[Result]:
    """Return the A/A controls that failed, of all workloads of a run; each baseline is the first of its workload.

    All controls together are tested at 95 %: in a run of unchanged code, any of them fails in one case of twenty,
    however many workloads there are. A single 95 % interval excludes 1 more often.
    """
    controls = measured_controls(results)
    failed = []
    for control in controls:
        baseline = next(result for result in results if result.workload == control.workload)
        processes = len(pairs(baseline.samples, control.samples))
        if control.speed_up and not holds_jointly(control.speed_up, 1.0, processes, len(controls)):
            failed.append(control)
    return failed


def student_quantile(freedom: float, confidence: float) -> float:
    """Return how many standard errors a two-sided interval of Student's t reaches from the mean."""
    from scipy.special import stdtrit  # takes 0.3 s, scipy.stats 0.7 s

    return float(stdtrit(freedom, (1 + confidence) / 2))


def jitter(samples: Samples, baseline: Samples) -> Estimate | None:
    """Return upper over lower quartile of an implementation's samples, relative to the baseline in the same rounds.

    A disturbance from outside hits both alike. 1.4 means that a quarter of the samples take 40 % longer than the
    reported time, for a reason of the implementation's own. None if no process has four such rounds.
    """
    ratios = [
        _quartile_ratio(seconds) / _quartile_ratio(baseline_seconds)
        for seconds, baseline_seconds in pairs(samples, baseline)
        if len(seconds) >= 4
    ]
    return geometric_mean(ratios) if ratios else None


def _quartile_ratio(values: Sequence[float]) -> float:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high / low


def outliers(samples: Samples) -> int:
    """Return how many samples took more than ten times their process's median: a compiler ran, or worse."""
    return sum(
        seconds > OUTLIER * statistics.median(rounds.values()) for rounds in samples for seconds in rounds.values()
    )


def spread(samples: Samples) -> float | None:
    """Return the interquartile range within a process relative to its median: the median over processes.

    None if no process has four samples.
    """
    spreads = []
    for rounds in samples:
        if len(rounds) >= 4:
            low, middle, high = statistics.quantiles(rounds.values(), n=4)
            spreads.append((high - low) / middle)
    return statistics.median(spreads) if spreads else None
