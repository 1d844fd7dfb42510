"""The audit of what was timed, in the process of the sampler, which never imports an implementation.

An implementation that passes the gate may still be incorrect when it counts: after the hundredth call, when its results
are remembered ones, when its work is only queued. So the timed calls themselves are looked at. Of one round of each
process, one that it cannot know, the parameters that the calls left behind are compared with the reference's after as
many steps. And in every round the times have to add up: what a worker says must fit what this process's own clock
saw, and reading the result must not take longer than when nothing can be pending.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bench.analysis.estimates import lower_quartile
from bench.conditions import Workload
from bench.records import Outcome
from bench.worker.protocol import HandedOver, Taken
from bench.workloads.problem import Problem
from impls.conformance.reference import GradientStep
from impls.conformance.tolerance import trajectory
from impls.interface import Array, Parameters

MISSED = 0.25  # of the time that a request takes: the most that may go by before the worker begins and after it ends …
MISSED_SECONDS = 0.001  # … beside what it takes to ask and to answer …
MISSED_TYPICAL = 3.0  # … and that many times what is typical, which is long on a busy machine
PENDING_AFTER_ALL = 0.08  # of a sample: the longest that reading its result may take, beyond what it takes at rest …
PENDING_AFTER_ONE = 0.3  # … and of a call, where one is looked at alone …
PENDING_SECONDS = 5e-5  # … beside what differs from reading to reading
PERTURBATIONS = 8  # of the reference, before an implementation is called incorrect
MAX_IDLE_CPUS = 0.1  # that an implementation may use while others are timed
MAX_THROTTLED = 0.01  # of a sample, for which a CPU quota may have stopped the process


@dataclass(frozen=True)
class Left:
    """The parameters that the calls of a sample left behind."""

    parameters: Parameters
    instance: int  # the number that the problem instance is drawn from
    calls: int
    untimed_calls: int
    cost: str


def read_left(path: Path, handed_over: HandedOver) -> Parameters:
    """Return the parameters that a worker wrote to a file. Raises ValueError if they are not all there."""
    tensors = [*handed_over.weights, *handed_over.biases]
    lengths = [math.prod(tensor.shape) for tensor in tensors]
    numbers = np.fromfile(path, np.float64)  # those of an earlier implementation may stand behind
    if sum(lengths) > len(numbers):
        raise ValueError(f"expected {sum(lengths)} numbers, found {len(numbers)}")
    pieces = np.split(numbers, np.cumsum(lengths))
    arrays = [piece.reshape(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=False)]
    return Parameters(arrays[: len(handed_over.weights)], arrays[len(handed_over.weights) :])


def wrong_dtypes(handed_over: HandedOver, workload: Workload) -> str:
    """Name the dtypes of parameters that are not the workload's; "" if all are."""
    wrong = {tensor.dtype for tensor in (*handed_over.weights, *handed_over.biases)} - {workload.dtype}
    return f"expected parameters of {workload.dtype}, found {', '.join(sorted(wrong))}" if wrong else ""


def compare_with_reference(problem: Problem, left: dict[str, Left]) -> dict[str, tuple[str, float]]:
    """Compare parameters that were left behind with the reference's: by label, the errors and the worst share.

    The share is of what rounding may do; see `impls.conformance.tolerance`. Parameters that are further off are
    compared again, with the reference perturbed several times; where rounding decides, they are not called incorrect.
    """
    comparisons = _compared(problem, left, 1)
    doubtful = {label: parameters for label, parameters in left.items() if comparisons[label][0]}
    return comparisons | _compared(problem, doubtful, PERTURBATIONS)


def _compared(problem: Problem, left: dict[str, Left], perturbations: int) -> dict[str, tuple[str, float]]:
    """Compare with the reference, perturbed so many times."""
    groups: dict[tuple[int, int, str], dict[str, Left]] = {}  # Those of a group took the same steps, some more of them.
    for label, result in left.items():
        groups.setdefault((result.instance, result.untimed_calls, result.cost), {})[label] = result
    comparisons: dict[str, tuple[str, float]] = {}
    with threadpool_limits(1, user_api="blas"):
        for (number, untimed, cost), group in groups.items():
            instance = problem.turn(number)
            batches = list(problem.mini_batches(instance))
            untimed_steps = _steps(batches, instance.untimed_learning_rate, untimed)
            steps = chain(untimed_steps, _steps(batches, instance.learning_rate))
            calls = sorted({result.calls for result in group.values()})
            lengths = [len(batches) * (untimed + count) for count in calls]
            stops = trajectory(instance.parameters, steps, lengths, problem.workload.dtype, cost, perturbations)
            reference = dict(zip(calls, stops, strict=True))
            for label, result in group.items():
                errors, share = reference[result.calls].errors(result.parameters)
                comparisons[label] = "" if reference[result.calls].undecided else errors, share
    return comparisons


def _steps(
    batches: list[tuple[Array, Array]], learning_rate: float, times: int | None = None
) -> Iterator[GradientStep]:
    """Return the steps of so many calls, for ever if no number is given."""
    calls = repeat(batches) if times is None else repeat(batches, times)
    return (GradientStep(x, y, learning_rate) for call in calls for x, y in call)


@dataclass(frozen=True)
class Answered:
    """A worker's reply to `Take`, between two readings of the clock of this process."""

    asked: float
    taken: Taken
    answered: float
    throttled_seconds: float = 0.0  # for which a CPU quota stopped processes meanwhile

    @property
    def throttled(self) -> bool:
        """Return whether a CPU quota lengthened the sample."""
        return self.throttled_seconds > MAX_THROTTLED * self.taken.seconds

    @property
    def missed_seconds(self) -> float:
        """Return the time of the request in which the worker did not say that it was busy."""
        return self.answered - self.asked - (self.taken.ended - self.taken.started)

    @property
    def clock_is_off(self) -> bool:
        """Return whether the worker's clock reads something that cannot be: it is the same one as this process's."""
        taken = self.taken
        return not self.asked <= taken.started <= taken.started + taken.seconds <= taken.ended <= self.answered


def suspicion(answered: Sequence[Answered], typical: float) -> tuple[Outcome, str] | None:
    """Return an outcome and the reason if the times cannot be believed; `typical` as for `inconsistency`."""
    if reason := work_pending([answer.taken for answer in answered]):
        return Outcome.RETURNED_EARLY, reason
    if reason := inconsistency(answered, typical):
        return Outcome.INCONSISTENT_TIMING, reason
    return None


def missed_seconds(answered: Sequence[Answered]) -> float:
    """Return the time of a request in which the worker did not say that it was busy, the shortest of all rounds."""
    return min(answer.missed_seconds for answer in answered)


def inconsistency(answered: Sequence[Answered], typical: float) -> str:
    """Return in words why the times of a worker cannot be believed, "" if they can.

    Its clock is not this process's; or it was busy for longer than it reported; or it made others slower. `typical` is
    what an implementation of the same rounds misses. A disturbance delays a reply, too: it has to be late every time.
    """
    if any(answer.clock_is_off for answer in answered):
        return "the clock in its process is not the one of other processes"
    elapsed = lower_quartile([answer.answered - answer.asked for answer in answered])
    missed = missed_seconds(answered)
    if missed > MISSED * elapsed + MISSED_SECONDS + MISSED_TYPICAL * typical:
        return f"it was busy for {missed:.2g} s of {elapsed:.2g} s beyond the time it reported, in every sample"
    idle_cpus = min((answer.taken.idle_cpus for answer in answered[1:]), default=0.0)
    return f"used {idle_cpus:.1f} CPUs while others were timed" if idle_cpus > MAX_IDLE_CPUS else ""


def work_pending(taken: Sequence[Taken]) -> str:
    """Return in words that work goes on after the calls have returned, "" if it does not.

    Reading the result has to wait for what still computes it, started or not. A disturbance makes it late, too: so it
    has to be late every time.
    """
    sample = min(reply.seconds for reply in taken)
    waited = min(reply.read_after_all_seconds - reply.read_at_rest_seconds for reply in taken)
    if waited > PENDING_AFTER_ALL * sample + PENDING_SECONDS:
        return f"{waited / (sample + waited):.0%} of the work is done after the timed calls have returned"
    after_one = [reply.read_after_one_seconds - reply.read_at_rest_seconds for reply in taken if reply.untimed_calls]
    call = min(reply.seconds / reply.calls for reply in taken)
    waited = min(after_one, default=0.0)
    if waited > PENDING_AFTER_ONE * call + PENDING_SECONDS:
        return f"{waited / (call + waited):.0%} of the work of a call is done after it has returned"
    return ""
