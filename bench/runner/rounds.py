"""The rounds of one workload in one process repetition: what is sampled when and where, and what the audit says.

A round takes one sample of each participant, all of the same problem instance, on the same CPUs, in random order.
"""

import math
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.conditions import Settings
from bench.records import Outcome
from bench.runner import audit
from bench.runner.candidates import Participant
from bench.runner.process import WorkerFailed
from bench.system.cpus import limited_groups, places, throttled_seconds, usable_cpus
from bench.system.processes import strayed
from bench.worker.protocol import Arrange, Arranged, HandedOver, HandOver, Take, Taken
from bench.worker.timing import perf_counter
from bench.workloads.problem import Problem

SLOW = 3  # times a typical sample, from which on an implementation is sampled less often …
MAX_STRIDE = 5  # … but at least in every fifth round
TRIALS = 3  # of the times, before they are called inconsistent, or work pending
REST_SECONDS = 0.02  # between two samples that are taken alone
RETAKES = 2  # of a sample during which a CPU quota stopped the process
MAX_ROUNDS = 10_000  # of a repetition, so that every problem instance of a run has a number of its own


class Rounds:
    """Takes the rounds of participants whose workers are prepared, and audits what was timed."""

    def __init__(
        self,
        problem: Problem,
        candidates: Sequence[Participant],
        settings: Settings,
        generation: int,
        exchange: Path,
    ) -> None:
        """Take the participants; `exchange` is a file for parameters that workers hand over."""
        self._problem = problem
        self._candidates = candidates
        self._generation = generation
        self._exchange = exchange
        self._random = random.Random(f"{settings.seed} {problem.workload.name} {generation}")
        self._limited = limited_groups()  # The workers are in the same control groups as this process.
        self.strides, self.count = plan_rounds(candidates, settings)

    def run(self) -> None:
        """Take all rounds and audit them. What was not audited counts for nothing, whatever came between."""
        compared = self._random.randrange(self.count // 2, self.count) if self.count else 0
        try:
            for number in range(self.count):
                due = [c for c in self._candidates if number % self.strides[c.label] == 0 or number == compared]
                self._round(number, [candidate for candidate in due if candidate.row.open], compared=number == compared)
            self._audit()
        except BaseException:
            for candidate in self._candidates:
                candidate.process.samples.clear()
            raise

    def _round(self, number: int, candidates: list[Participant], *, compared: bool) -> None:
        """Take one sample of each participant; in the round that is compared, look at what the calls left behind."""
        cpus = places(self._problem.workload.threads, self._generation + number)
        instance = self._instance(number)
        for candidate in self._random.sample(candidates, len(candidates)):
            place = cpus[: candidate.threads]
            candidate.worker.confine(place, candidate.busiest_threads, children=candidate.children)
            try:
                answer = self._sample(candidate, instance)
                if compared:
                    candidate.row.strayed = strayed(candidate.worker.pid, set(place)) or candidate.row.strayed
                    if candidate.kind == "implementation":
                        self._hand_over(candidate, instance, answer.taken)
            except WorkerFailed as failure:
                candidate.fail(failure)
            else:
                candidate.add_sample(number, answer)

    def _instance(self, number: int) -> int:
        """Return the number of a round's problem instance; 0 is the one that the gate knows."""
        return 1 + self._generation * MAX_ROUNDS + number

    def _sample(self, candidate: Participant, instance: int) -> audit.Answered:
        """Have a worker take a sample, and take it again if a CPU quota stopped it. Raises WorkerFailed."""
        answer = self._ask(candidate, instance)
        for _ in range(RETAKES):
            if not answer.throttled:
                break
            time.sleep(max(group.period_seconds for group in self._limited))  # Then nothing of the quota is used up.
            answer = self._ask(candidate, instance)
        return answer

    def _ask(self, candidate: Participant, instance: int) -> audit.Answered:
        """Have a worker take a sample of a problem instance. Raises WorkerFailed."""
        candidate.worker.ask(Arrange(instance), Arranged)
        throttled = throttled_seconds(self._limited)
        asked = perf_counter()
        taken = candidate.worker.ask(Take(), Taken)
        answered = perf_counter()
        return audit.Answered(asked, taken, answered, throttled_seconds(self._limited) - throttled)

    def _hand_over(self, candidate: Participant, instance: int, taken: Taken) -> None:
        """Fetch what the calls of an implementation's last sample left behind. Raises WorkerFailed."""
        handed_over = candidate.worker.ask(HandOver(str(self._exchange)), HandedOver)
        candidate.children = handed_over.children
        dtypes = audit.wrong_dtypes(handed_over, self._problem.workload)
        if dtypes:
            calls = _calls_text(taken.untimed_calls + taken.calls)
            raise WorkerFailed(Outcome.INCORRECT_AFTER_TIMING, dtypes, outcome_detail=calls)
        try:
            parameters = audit.read_left(self._exchange, handed_over)
        except ValueError as error:
            raise WorkerFailed(Outcome.CRASHED, f"handed over parameters that cannot be read: {error}") from error
        candidate.left = audit.Left(parameters, instance, taken.calls, taken.untimed_calls, candidate.cost)

    def _audit(self) -> None:
        """Audit what every implementation left behind and the times that its worker reported."""
        sampled = [candidate for candidate in self._candidates if candidate.answered]
        missed = [audit.missed_seconds(candidate.answered) for candidate in sampled]
        typical = statistics.median(missed) if missed else 0.0
        left = {candidate.label: candidate.left for candidate in sampled if candidate.left is not None}
        comparisons = audit.compare_with_reference(self._problem, left)
        for candidate in sampled:
            candidate.process.growth_bytes = _growth_bytes([answer.taken for answer in candidate.answered])
            row = candidate.row
            if candidate.left is not None:
                errors, share = comparisons[candidate.label]
                row.worst_error = max(share, row.worst_error or 0.0)
                if errors and row.open:
                    calls = _calls_text(candidate.left.untimed_calls + candidate.left.calls)
                    row.fail(Outcome.INCORRECT_AFTER_TIMING, errors, calls)
            if row.open:
                self._audit_times(candidate, typical)

    def _audit_times(self, candidate: Participant, typical: float) -> None:
        """Fail a result whose times cannot be believed; a suspicion has to come up again in samples taken alone."""
        suspicion = audit.suspicion(candidate.answered, typical)
        try:
            for _ in range(TRIALS - 1):
                if suspicion is None:
                    return
                suspicion = audit.suspicion([self._sample_alone(candidate) for _ in candidate.answered], typical)
        except WorkerFailed as failure:
            candidate.fail(failure)
            return
        if suspicion is not None:
            candidate.row.fail(*suspicion)

    def _sample_alone(self, candidate: Participant) -> audit.Answered:
        """Take one more sample, for the audit only. Raises WorkerFailed."""
        time.sleep(REST_SECONDS)
        return self._ask(candidate, self._instance(0))


def _calls_text(calls: int) -> str:
    return f"{calls} call{'s' * (calls != 1)}"


def _growth_bytes(taken: Sequence[Taken]) -> float:
    """Return by how much a process's resident memory grew per call, over the third or the last quarter of its samples.

    The smaller of the two counts, and the first half does not: what libraries allocate once, at some early call, and
    keep, is no growth.
    """
    middle, last = len(taken) // 2, len(taken) - 1
    between = (middle + last) // 2
    rates = []
    for begin, end in ((middle, between), (between, last)):
        calls = sum(reply.untimed_calls + reply.calls for reply in taken[begin + 1 : end + 1])
        rates.append((taken[end].own_bytes - taken[begin].own_bytes) / calls if calls else 0.0)
    return max(0.0, min(rates))


def plan_rounds(candidates: Sequence[Participant], settings: Settings) -> tuple[dict[str, int], int]:
    """Return for each label that it is sampled in every n-th round, and how many rounds there are.

    Everything gets `min_rounds` samples, even if that takes more time.
    """
    if not candidates or settings.workload_seconds <= 0:
        return {}, 0
    typical = statistics.median(candidate.sample_seconds for candidate in candidates)
    wanted = {candidate.label: _wanted_stride(candidate, typical) for candidate in candidates}
    strides = {label: _stride(stride) for label, stride in wanted.items()}
    round_seconds = sum(candidate.sample_seconds / strides[candidate.label] for candidate in candidates)
    fitting = int(settings.workload_seconds / settings.generations / round_seconds)
    count = min(settings.max_rounds, max(settings.min_rounds, fitting))
    return {label: _stride(min(stride, count / settings.min_rounds)) for label, stride in strides.items()}, count


def _wanted_stride(candidate: Participant, typical: float) -> float:
    """Return in every how many rounds a sample is wanted, given the seconds of a typical sample.

    Slow implementations are sampled less often, because they stretch the rounds; so is the reference rate. The
    baseline, its control and the peak are in every round, so that every sample has its pair.
    """
    if candidate.is_baseline or candidate.kind == "peak":
        return 1.0
    if candidate.kind == "reference":
        return MAX_STRIDE
    return candidate.sample_seconds / (SLOW * typical)


def _stride(wanted: float) -> int:
    """Return the largest stride that is wanted, up to MAX_STRIDE, with which each CPU gets its turn."""
    most = min(MAX_STRIDE, max(1, int(wanted)))
    return next(stride for stride in range(most, 0, -1) if math.gcd(stride, len(usable_cpus())) == 1)
