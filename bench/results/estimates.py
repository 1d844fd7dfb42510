"""How sure we are: speed-ups with intervals from paired samples of several processes.

A disturbance only ever adds time. So the time of a process is the lower quartile of its samples: nearer to what it
takes undisturbed than the median, which moves as soon as half of the rounds are disturbed, and steadier than the
minimum, which one lucky round decides.

Samples of one process share what was drawn when the process started (memory layout, most of all), so the process,
not the sample, is the unit of the interval. Each generation gives one number, the ratio of two lower quartiles over
the same rounds; the interval is Student's t on the logarithms of these numbers. A percentile bootstrap at these
counts is too narrow; `tests/test_statistics.py` shows the coverage of this one by simulation.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from bench.records import Estimate

OUTLIER = 10.0  # times the median
Generations = Sequence[Mapping[int, float]]  # seconds by round, of each generation


def paired_ratio(numerator: Generations, denominator: Generations, confidence: float = 0.95) -> Estimate:
    """Return numerator / denominator with its interval, from samples paired by generation and round.

    Rounds that only one of them has count for nothing, nor do generations without a pair. Raises ValueError if
    there is no pair at all.
    """
    ratios = []
    for one, other in zip(numerator, denominator, strict=False):
        rounds = one.keys() & other.keys()
        if rounds:
            ratios.append(
                lower_quartile([one[number] for number in rounds])
                / lower_quartile([other[number] for number in rounds])
            )
    if not ratios:
        raise ValueError("paired_ratio: expected at least one round that both have, got none")
    return geometric_mean(ratios, confidence)


def seconds(samples: Generations) -> float:
    """Return the median over generations of the lower quartile over rounds."""
    return statistics.median(lower_quartile(list(rounds.values())) for rounds in samples if rounds)


def seconds_estimate(samples: Generations) -> Estimate:
    """Return the seconds of a call with their interval over processes; pairs are better where there are any."""
    return geometric_mean([lower_quartile(list(rounds.values())) for rounds in samples if rounds])


def lower_quartile(values: Sequence[float]) -> float:
    """Return the value below which a quarter of them lie, interpolated; of a single one, itself."""
    return statistics.quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]


def geometric_mean(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the geometric mean with Student's t interval on the logarithms: exp(m ± t * s / sqrt(n))."""
    logs = [math.log(value) for value in values]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Estimate(math.exp(mean))
    from scipy.special import stdtrit  # takes 0.3 s, scipy.stats 0.7 s

    quantile = float(stdtrit(len(logs) - 1, (1 + confidence) / 2))
    margin = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return Estimate(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin))


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
