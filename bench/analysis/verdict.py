"""How an implementation's time changed between two runs, what can be said of it, and how much a gate allows.

The unit is the process, as within a run. The figure of an implementation in a process is the logarithm of its speed-up
over the baseline in the processes started with it, so that what slowed both cancels; the baseline's own is over the
peak. The change is the difference of the two means with Welch's interval, for two samples of different spread and size.

Two runs of unchanged code differ by a little more than their processes do: the machine is not quite what it was.
`FLOOR` is added to the standard error of each run. It was measured (docs/compare.md) from runs of unchanged
code: the standard deviation of the means of runs, less what the variances of their processes explain.

A limits file is TOML:

    fail-on = "5%"

    [rows]  # on any workload
    jax = "10%"

    [workloads.large-all]
    "*" = "8%"
    in_place = "6%"
"""

import math
import re
import statistics
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.analysis.estimates import CONFIDENCE, Samples, lower_quartile, pairs, student_quantile
from bench.records import Estimate
from impls.support.errors import UserError

FLOOR = 0.004  # standard deviation between runs of unchanged code, beyond what their processes explain …
PEAK_FLOOR = 0.008  # … and of what is relative to the peak: a core's clock is not the same for scalars and for vectors
MARGIN = 0.03  # within which a change between two runs does not matter, where no limit is given …
AGAINST_MARGIN = 0.015  # … and one between two implementations in the same rounds
ALL = "*"
PERCENTAGE = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "same", "inconclusive"


class Limits(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """How much slower implementations may become before a gate fails, as it stands in a file."""

    fail_on: str = f"{100 * MARGIN:g}%"
    rows: dict[str, str] = {}
    workloads: dict[str, dict[str, str]] = {}

    def limit(self, workload: str, label: str) -> float:
        """Return how much longer an implementation may take, as a share; the most particular limit counts."""
        by_label = self.workloads.get(workload, {})
        text = by_label.get(label) or self.rows.get(label) or by_label.get(ALL) or self.fail_on
        return percent(text, f"limit of {label} on {workload}")


def percent(text: str, what: str) -> float:
    """Return "5%" as 0.05. Raises UserError that begins with `what` if the text is not a percentage above 0."""
    match = PERCENTAGE.fullmatch(text)
    value = float(match[1]) / 100 if match else 0.0
    if not 0.0 < value <= 100.0:
        raise UserError(f"{what}: expected a percentage above 0 %, as 5%, found {text!r}")
    return value


def read_limits(path: Path) -> Limits:
    """Return the limits in a file. Raises UserError if it cannot be read or is not one."""
    try:
        limits = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Limits)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: not a limits file: {error}") from error
    for by_label in ({"fail-on": limits.fail_on}, limits.rows, *limits.workloads.values()):
        for label, text in by_label.items():
            percent(text, f"{path}: {label}")
    return limits


def logs(numerator: Samples, denominator: Samples) -> list[float]:
    """Return the logarithm of the ratio of two times in each process that both have."""
    return [math.log(lower_quartile(above) / lower_quartile(below)) for above, below in pairs(numerator, denominator)]


def change(old: Sequence[float], new: Sequence[float], floor: float = FLOOR, intervals: int = 1) -> Estimate | None:
    """Return how many times as long a call takes as before, from the per-process logarithms of its relative time.

    The interval is so wide that all of `intervals` such intervals hold together in 95 of 100 cases (Bonferroni). None
    if a run has fewer than two processes.
    """
    if len(old) < 2 or len(new) < 2:
        return None
    parts = [statistics.variance(values) / len(values) for values in (old, new)]
    variance = sum(parts) + 2 * floor**2
    # Welch-Satterthwaite; the floor is known, as if from any number of runs
    freedom = variance**2 / max(1e-300, sum(part**2 / (len(v) - 1) for part, v in zip(parts, (old, new), strict=True)))
    difference = statistics.fmean(new) - statistics.fmean(old)
    margin = student_quantile(min(freedom, 1e6), 1 - (1 - CONFIDENCE) / intervals) * math.sqrt(variance)
    return Estimate(math.exp(difference), math.exp(difference - margin), math.exp(difference + margin))


def verdict(ratio: Estimate | None, margin: float) -> str:
    """Return one word for a ratio of times, new over old, given the margin within which a change does not matter.

    Same: the whole interval is inside the margin. Slower (faster): the interval excludes 1, and the ratio is outside
    the margin. Anything else is inconclusive.
    """
    if ratio is None or ratio.low is None or ratio.high is None:
        return INCONCLUSIVE
    if 1 / (1 + margin) <= ratio.low and ratio.high <= 1 + margin:
        return SAME
    if ratio.low > 1.0 and ratio.value > 1 + margin:
        return SLOWER
    if ratio.high < 1.0 and ratio.value < 1 / (1 + margin):
        return FASTER
    return INCONCLUSIVE
