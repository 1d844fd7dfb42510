"""What a reader should know before believing the figures."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median, median_low

from bench.analysis import estimates
from bench.analysis.estimates import failed_controls
from bench.conditions import Machine
from bench.records import NOT_TIMED_HERE, Note, Outcome, Process, Rate, Result

MIN_PROCESSES = 3  # for a claim
NOISY_SPREAD = 0.10  # interquartile range of the baseline's samples over their median
NOISY_STEAL_PERCENT = 1.0  # of the CPU time
MAX_THROTTLED = 0.01  # share of a run's time, or of an implementation's samples, in which a CPU quota stopped processes
BUSY_CPUS = 0.1  # that other processes use
WIDE = 0.03  # half-width of an interval over its value
JITTER = 1.05  # upper over lower quartile, relative to the baseline's
OVER_SHARE = 1.05  # cores used over cores given
MAX_OVERHEAD_PERCENT = 1.0  # of a sample
MIN_GROWTH_BYTES = 64  # of a process's memory, per call …
MIN_GROWN_BYTES = 1e6  # … and over all its calls: less may be the allocator's own; over fewer than FEW_CALLS …
FEW_CALLS, MIN_GROWN_BYTES_OF_FEW = 20, 64e6  # … it may be the heap, which grows to what a problem needs
NO_PEAK = "no % of peak"
KERNEL_VARIABLE = "OPENBLAS_CORETYPE"  # chooses the kernels
KERNELS_WITHOUT_AVX512 = (  # of OpenBLAS for x86, by their names in its driver/others/dynamic.c
    *("Katmai", "Coppermine", "Athlon", "Northwood", "Banias", "Opteron", "Prescott", "Opteron_SSE3", "Barcelona"),
    *("Nano", "Core2", "Atom", "Bobcat", "Penryn", "Dunnington", "Nehalem", "Sandybridge", "Bulldozer", "Piledriver"),
    *("Steamroller", "Excavator", "Haswell", "Zen"),
)


# --- On a run ----------------------------------------------------------------------------------------------------


def notes_on_run(
    interrupted: bool, steal_percent: float | None, other_cpus: float | None, failure: str = ""
) -> list[Note]:
    """Return what disturbed a run as a whole; `failure` is what ended it early, if anything did."""
    texts = []
    if interrupted:
        texts.append("the run was interrupted: the figures come from what was finished")
    if failure:
        texts.append(
            f"the run ended early, by a fault of the benchmark: {failure}; the figures come from what was finished"
        )
    if steal_percent is not None and steal_percent > NOISY_STEAL_PERCENT:
        texts.append(f"CPU steal: the hypervisor took {steal_percent:.1f} % of the CPU time during the run")
    if other_cpus is not None and other_cpus > BUSY_CPUS:
        texts.append(
            f"other processes kept {other_cpus:.1f} CPUs busy during the run; calls take longer then, and "
            "implementations may be skipped as too slow: repeat it on an idle machine"
        )
    return list(map(Note, texts))


def notes_on_quota(machine: Machine, seconds: float, throttled_seconds: float | None) -> list[Note]:
    """Return what a CPU quota meant for a run of so many seconds, for some of which it stopped processes."""
    notes = []
    if machine.cpu_quota is not None and machine.cores is not None:
        allowed = f"a CPU quota of {machine.cpu_quota:.4g} allows {_count(machine.cores, 'core')}"
        notes.append(Note(f"{allowed}: no implementation was given more threads than that"))
    if throttled_seconds is not None and throttled_seconds > MAX_THROTTLED * seconds:
        notes.append(
            Note(
                f"the CPU quota stopped processes for {throttled_seconds:.1f} s, summed over CPUs, of {seconds:.1f} s: "
                "samples that it stopped were taken again, but first calls took longer, and implementations may be "
                "skipped as too slow; allow one CPU more than the most threads that are timed (docker run --cpus)"
            )
        )
    return notes


def note_on_cpus(before: Sequence[int], after: Sequence[int]) -> list[Note]:
    """Return that the CPUs which this process may run on changed during a run, if they did."""
    if before == after:
        return []
    began, ended = (", ".join(map(str, cpus)) for cpus in (before, after))
    return [
        Note(
            f"the run began on CPUs {began} and ended on {ended}: its figures mix both, and implementations on several "
            "threads may be skipped as too slow; repeat it"
        )
    ]


def notes_on_missing_rates(missing: str, rates: Mapping[str, Rate | str]) -> list[Note]:
    """Return why workloads, by name, have no rate: each reason once; `missing` says what is missing without it."""
    workloads_by_reason: dict[str, list[str]] = {}
    for workload, rate in rates.items():
        if isinstance(rate, str):
            workloads_by_reason.setdefault(rate, []).append(workload)
    return [
        Note(f"{missing}: {reason}", () if len(workloads) == len(rates) else tuple(workloads))
        for reason, workloads in workloads_by_reason.items()
    ]


# --- On the environment ------------------------------------------------------------------------------------------


def note_on_kernels(machine: Machine, results: Iterable[Result]) -> list[Note]:
    """Return that OpenBLAS runs kernels without AVX-512 on a processor that has it, if it does.

    It picks kernels by a table of processors. One that is not in the table gets older ones, at half the speed or less.
    Kernels with an unknown name are ignored: a later OpenBLAS has more of them.
    """
    pools = [pool for result in results for pool in result.thread_pools if pool.internal_api == "openblas"]
    used = {(pool.architecture or "").lower() for pool in pools}  # A build for one processor has its name in capitals.
    older = sorted(name for name in KERNELS_WITHOUT_AVX512 if name.lower() in used)
    if not older or not machine.avx512:
        return []
    chosen = (machine.variables or {}).get(KERNEL_VARIABLE)
    if chosen is None:
        advice = f"with {KERNEL_VARIABLE}=SkylakeX in the environment, implementations that call it may be much faster"
    else:
        advice = f"{KERNEL_VARIABLE}={chosen} in the environment may be why"
    return [Note(f"OpenBLAS uses {' and '.join(older)} kernels although this CPU has AVX-512: {advice}")]


def note_on_variables(machine: Machine) -> list[Note]:
    """Return the environment variables that steer libraries, if there are any."""
    if not machine.variables:
        return []
    variables = ", ".join(f"{name}={value}" for name, value in machine.variables.items())
    return [Note(f"these environment variables may affect library speed: {variables}")]


def note_on_environment(debugging: Mapping[str, str], keep: str, *, kept: bool) -> list[Note]:
    """Return which variables workers were started without, or with where the variable `keep` is set.

    `debugging` are the variables of the environment that trace, check or debug processes, with what each does.
    """
    if not debugging:
        return []
    variables = ", ".join(f"{name} ({effect})" for name, effect in debugging.items())
    if kept:
        return [Note(f"{keep}=1: workers were started with {variables}; their times may be much longer")]
    return [Note(f"workers were started without {variables}; {keep}=1 would keep what was removed")]


def notes_on_tracing(results: Iterable[Result]) -> list[Note]:
    """Return what traced or checked the processes of results, or that it was switched off, each with the labels."""
    started = [result for result in results if result.processes]
    labels_by_text: dict[str, list[str]] = {}
    for result in started:
        for text in result.tracing:
            labels_by_text.setdefault(text, []).append(result.label)
    return [
        Note(f"{'all' if len(labels) == len(started) else ', '.join(dict.fromkeys(labels))}: {text}")
        for text, labels in labels_by_text.items()
    ]


# --- On results --------------------------------------------------------------------------------------------------


def notes_on_workloads(workloads: Iterable[Sequence[Result]], precision: float | None = None) -> list[Note]:
    """Return what holds for the results on each workload of a run, of which the baseline is the first.

    `precision` is the one that was asked for, if any.
    """
    by_workload = list(workloads)
    notes = [note for results in by_workload for note in _on_workload(results, precision)]
    for control in failed_controls([result for results in by_workload for result in results]):
        low, high = control.speed_up.ends if control.speed_up else (1.0, 1.0)
        text = f"A/A control failed: identical code differed by {low:.3f} to {high:.3f}"
        notes.append(Note(f"{text}; do not trust differences of this size here", (control.workload,), control.label))
    return notes


def failure_note(result: Result) -> Note:
    """Return why an implementation could not be timed."""
    return Note(f"{result.outcome_text}: {result.reason}", (result.workload,), result.label, "failure")


def jittery(results: Sequence[Result]) -> dict[str, float]:
    """Return the labels of results whose own jitter their lower quartiles hide, with `estimates.jitter` of each.

    The baseline is the first of the results. On the reference runs, with a few hundred results, one is among them.
    """
    factors = {}
    for result in results[1:]:
        jitter = estimates.jitter(result.samples, results[0].samples) if result.timed else None
        if jitter is not None and jitter.low is not None and jitter.low > JITTER:
            factors[result.label] = jitter.value
    return factors


def _on_workload(results: Sequence[Result], precision: float | None) -> list[Note]:
    workload, baseline = results[0].workload, results[0]
    timed = [result for result in results if result.timed]
    notes = [failure_note(result) for result in results if result.outcome not in (Outcome.OK, *NOT_TIMED_HERE)]
    if baseline.outcome != Outcome.OK and any(result.speed_up for result in results):
        until_then = f"its {_count(len(baseline.processes), 'process')} until then"
        notes.append(Note(f"the baseline {baseline.outcome}: speed-ups are from {until_then}", (workload,)))
    for result in timed:
        notes += [Note(text, (workload,), result.label) for text in _on_result(result, baseline)]
    return notes + [Note(text, (workload,)) for text in _on_several_results(timed, baseline, precision)]


def _on_several_results(timed: Sequence[Result], baseline: Result, precision: float | None) -> Iterable[str]:
    """Yield each text once, with the labels of all results on a workload that it holds for."""
    throttled = [
        result.label for result in timed if result.throttled_samples > MAX_THROTTLED * sum(map(len, result.samples))
    ]
    if throttled:
        yield (
            f"the CPU quota stopped {', '.join(throttled)} in more than {100 * MAX_THROTTLED:g} % of the samples, "
            "although they were taken again: their times are too long; raise the quota (docker run --cpus)"
        )
    widest = WIDE if precision is None else precision
    wide = [result.label for result in timed if result.speed_up and (result.speed_up.half_width or 0.0) > widest]
    if wide:
        remedy = "run longer" if precision is None else "run longer (--most-seconds)"
        yield f"intervals wider than ± {100 * widest:g} % for {', '.join(wide)}: {remedy}, or on an idle machine"
    if timed and len(timed[0].processes) < MIN_PROCESSES:
        processes = _count(len(timed[0].processes), "process")
        yield f"only {processes} per implementation; at least {MIN_PROCESSES} are needed for a claim"
    rounds = {result.label: median_low(len(samples) for samples in result.samples if samples) for result in timed}
    few = [label for label, count in rounds.items() if count < estimates.FEW_ROUNDS]
    if few:
        labels = "all implementations" if len(few) == len(rounds) else ", ".join(few)
        yield (
            f"{labels}: only {_count(min(rounds.values()), 'round')} per process: with fewer than "
            f"{estimates.FEW_ROUNDS}, the lower quartile is close to the minimum; give more --seconds"
        )
    if baseline.timed and (baseline.spread or 0.0) > NOISY_SPREAD:
        percent = 100 * (baseline.spread or 0.0)
        yield f"noisy machine: the middle half of the baseline's samples spans {percent:.0f} % of their median"


def _on_result(result: Result, baseline: Result) -> Iterable[str]:
    for factor in jittery([baseline, result]).values():
        yield (
            f"jitter: a quarter of its samples took at least {100 * (factor - 1):.0f} % longer than the reported time, "
            "which is their lower quartile"
        )
    if result.cores_used is not None and result.cores_used > result.threads * OVER_SHARE:
        yield f"used {result.cores_used:.2f} cores, but was given {result.threads}"
    if result.device:
        yield f"computes on {result.device}, and not on the CPU whose peak the others are measured against"
    peak = result.percent_of_peak
    if peak is not None and (peak.low or peak.value) > 100:
        yield (
            f"above 100 % of peak ({peak.value:.0f} %): the machine was slower while the peak was measured; repeat the "
            "run on an idle machine"
        )
    if result.worst_error is not None and result.worst_error > 1.0:
        yield "final parameters not verifiable: rounding dominates after this many steps"
    if result.strayed:
        yield f"{result.strayed}: its times may not be those of the CPUs that it was given"
    growth_bytes = median(process.growth_bytes for process in result.processes)
    if growth_bytes >= MIN_GROWTH_BYTES and sum(map(_has_grown, result.processes)) > len(result.processes) / 2:
        yield f"its memory grows by {growth_bytes / 1000:,.1f} kB per call"
    outliers = estimates.outliers(result.samples)
    if result.compilations or outliers:
        what = _count(result.compilations, "compilation") if result.compilations else _count(outliers, "outlier")
        yield f"{what} within the samples: a compilation or a disturbance fell into the timing"
    overhead_percent = max(process.overhead_percent for process in result.processes)
    if overhead_percent > MAX_OVERHEAD_PERCENT:
        yield f"the harness's own share of a sample is {overhead_percent:.1f} %"


def _has_grown(process: Process) -> bool:
    """Return whether a process's memory grew by more over all its samples than it may without a leak."""
    calls = process.calls * len(process.samples)
    return process.growth_bytes * calls >= (MIN_GROWN_BYTES if calls >= FEW_CALLS else MIN_GROWN_BYTES_OF_FEW)


def _count(number: int, what: str) -> str:
    """Return a number of things: 1 process, 2 processes, 3 rounds."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural * (number != 1)}"
