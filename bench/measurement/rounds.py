"""The rounds of one workload in one generation: which row is sampled when and where, and what the judge says.

A round takes one sample of each row, all of the same turn of the problem, on the same CPUs, in random order.
"""

import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cpus import limited_groups, places, throttled_seconds, usable_cpus
from bench.measurement import children, judge
from bench.measurement.candidates import Candidate
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.measurement.timing import perf_counter
from bench.problem.problem import Problem
from bench.protocol import Arrange, Arranged, HandedOver, HandOver, Take, Taken
from bench.records import Sample, Settings

SLOW = 3  # times a typical row's sample, from which a row is sampled less often …
MAX_STRIDE = 5  # … but at least in every fifth round
TRIALS = 3  # of a row's times, before it is called unfinished or implausible
REST_SECONDS = 0.02  # between two samples of a row alone
RETAKES = 2  # of a sample during which a CPU quota stopped the process
MAX_ROUNDS = 10_000  # of a generation, so that every turn of a run has a number of its own


@dataclass
class Evidence:
    """What one process of a row showed while it was sampled."""

    answered: list[judge.Answered] = field(default_factory=list)
    last: tuple[int, Taken] | None = None  # turn and reply, whether or not the round came to its end
    unanswered: bool = False  # the worker owes a reply: an interrupt came before it
    left: judge.Left | None = None  # in the round that is compared


class Rounds:
    """Takes the rounds of candidates whose workers are prepared, and judges what was timed."""

    def __init__(
        self,
        problem: Problem,
        candidates: Sequence[Candidate],
        workers: Mapping[tuple[str, bool, int], WorkerProcess],
        settings: Settings,
        generation: int,
        exchange: Path,
    ) -> None:
        """Take the candidates with their workers; `exchange` is a file for parameters that workers hand over."""
        self._problem = problem
        self._candidates = candidates
        self._workers = workers
        self._generation = generation
        self._exchange = exchange
        self._random = random.Random(f"{settings.seed} {problem.workload.name} {generation}")
        self._evidence = {candidate.label: Evidence() for candidate in candidates}
        self._limited = limited_groups()  # the workers are in the same control groups as this process
        self.strides, self.count = plan_rounds(candidates, settings)

    def run(self) -> None:
        """Take all rounds. However they end, what was timed is judged; what cannot be judged is dropped."""
        compared = self._random.randrange(self.count // 2, self.count) if self.count else 0
        try:
            for number in range(self.count):
                due = [c for c in self._candidates if number % self.strides[c.label] == 0 or number == compared]
                self._round(number, [candidate for candidate in due if candidate.row.open], compared=number == compared)
        finally:
            try:
                self._judge()
            except BaseException:  # a second Ctrl-C, most likely
                for candidate in self._candidates:
                    if candidate.entry.target:
                        candidate.process.samples.clear()
                raise

    def _round(self, number: int, candidates: list[Candidate], *, compared: bool) -> None:
        """Take one sample of each; an interrupted round counts for nothing."""
        cpus = places(self._problem.workload.threads, self._generation + number)
        turn = 1 + self._generation * MAX_ROUNDS + number
        answered: list[tuple[Candidate, judge.Answered]] = []
        for candidate in self._random.sample(candidates, len(candidates)):
            worker, place = self._workers[candidate.worker_key], cpus[: candidate.threads]
            worker.confine(place, candidate.busiest_threads, children=candidate.children)
            try:
                one = self._sample(candidate, turn)
                answered.append((candidate, one))
                self._evidence[candidate.label].last = turn, one.taken
                if compared:
                    candidate.row.strayed = children.strayed(worker.pid, set(place)) or candidate.row.strayed
                    self._hand_over(candidate)
            except WorkerFailed as failure:
                candidate.fail(failure)
        for candidate, one in answered:
            self._evidence[candidate.label].answered.append(one)
            reply = one.taken
            per_call = reply.seconds / reply.calls, reply.cpu_seconds / reply.calls
            candidate.process.samples.append(Sample(number, *per_call))
            candidate.row.compilations += reply.compilations
            candidate.row.throttled_samples += one.throttled

    def _hand_over(self, candidate: Candidate) -> None:
        """Fetch what the calls of a row's last sample left behind. Raises WorkerFailed."""
        evidence = self._evidence[candidate.label]
        if not candidate.entry.target or evidence.last is None:
            return  # the worker of the peak or of the reference rate
        turn, reply = evidence.last
        evidence.unanswered = True
        handed_over = self._workers[candidate.worker_key].ask(HandOver(str(self._exchange)), HandedOver)
        evidence.unanswered = False
        candidate.children = handed_over.children
        dtypes = judge.wrong_dtypes(handed_over, self._problem.workload)
        if dtypes:
            raise WorkerFailed(_wrong_after(reply.untimed_calls + reply.calls), dtypes)
        try:
            parameters = judge.read_left(self._exchange, handed_over)
        except ValueError as error:
            raise WorkerFailed("crashed", f"handed over parameters that cannot be read: {error}") from error
        evidence.left = judge.Left(parameters, turn, reply.calls, reply.untimed_calls, candidate.cost)

    def _judge(self) -> None:
        """Judge what every row left behind and what times its worker told; drop what could not be compared."""
        for candidate in self._candidates:
            evidence = self._evidence[candidate.label]
            if not candidate.row.open or not evidence.answered or evidence.left is not None:
                continue
            if evidence.unanswered and candidate.entry.target:
                self._drop(candidate)
                continue
            try:  # the run was interrupted before the round that is compared
                self._hand_over(candidate)
            except WorkerFailed as failure:
                candidate.fail(failure)
        sampled = [candidate for candidate in self._candidates if self._evidence[candidate.label].answered]
        left = {c.label: one for c in sampled if (one := self._evidence[c.label].left) is not None}
        verdicts = judge.verdicts(self._problem, left)
        missed = [judge.missed_seconds(self._evidence[candidate.label].answered) for candidate in sampled]
        typical = statistics.median(missed) if missed else 0.0
        for candidate in sampled:
            evidence, row = self._evidence[candidate.label], candidate.row
            taken = [one.taken for one in evidence.answered]
            candidate.process.growth_bytes = _growth_bytes(taken)
            if candidate.label in verdicts:
                errors, share = verdicts[candidate.label]
                row.worst_error = max(share, row.worst_error or 0.0)
                if errors and row.open:
                    calls = left[candidate.label].untimed_calls + left[candidate.label].calls
                    row.fail(_wrong_after(calls), errors)
            if row.open:
                self._examine(candidate, evidence.answered, typical)

    def _drop(self, candidate: Candidate) -> None:
        """Drop a row's samples of this generation: its worker's next reply would be the one that it still owes."""
        candidate.process.samples.clear()
        self._evidence[candidate.label].answered.clear()

    def _examine(self, candidate: Candidate, answered: Sequence[judge.Answered], typical: float) -> None:
        """Fail a row whose times cannot be believed; a suspicion has to come up again in samples of the row alone."""
        suspicion = judge.suspicion(answered, typical)
        try:
            for _ in range(TRIALS - 1):
                if suspicion is None:
                    return
                if self._evidence[candidate.label].unanswered:
                    self._drop(candidate)
                    return
                again = [self._sample_alone(candidate) for _ in answered]
                suspicion = judge.suspicion(again, typical)
        except WorkerFailed as failure:
            candidate.fail(failure)
            return
        if suspicion is not None:
            candidate.row.fail(*suspicion)

    def _sample(self, candidate: Candidate, turn: int) -> judge.Answered:
        """Have a worker take a sample of a turn, and take it again if a CPU quota stopped it. Raises WorkerFailed."""
        answered = self._ask(candidate, turn)
        for _ in range(RETAKES):
            if not answered.throttled:
                break
            time.sleep(max(group.period_seconds for group in self._limited))  # then nothing of the quota is used up
            answered = self._ask(candidate, turn)
        return answered

    def _sample_alone(self, candidate: Candidate) -> judge.Answered:
        """Take one more sample of a row, for the judge only. Raises WorkerFailed."""
        time.sleep(REST_SECONDS)
        turn, _ = self._evidence[candidate.label].last or (0, None)
        return self._ask(candidate, turn)

    def _ask(self, candidate: Candidate, turn: int) -> judge.Answered:
        """Have a worker take a sample of a turn. Raises WorkerFailed."""
        worker, evidence = self._workers[candidate.worker_key], self._evidence[candidate.label]
        evidence.unanswered = True
        worker.ask(Arrange(turn), Arranged)
        throttled = throttled_seconds(self._limited)
        asked = perf_counter()
        reply = worker.ask(Take(), Taken)
        answered = perf_counter()
        evidence.unanswered = False
        return judge.Answered(asked, reply, answered, throttled_seconds(self._limited) - throttled)


def _wrong_after(calls: int) -> str:
    return f"wrong after {calls} calls" if calls != 1 else "wrong after 1 call"


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


def plan_rounds(candidates: Sequence[Candidate], settings: Settings) -> tuple[dict[str, int], int]:
    """Return for each row that it is sampled in every n-th round, and how many rounds there are.

    Slow rows are sampled less often: they stretch the rounds; so is the reference rate. The baseline, its control and
    the peak are in every round, so that every sample has its pair. Every row gets `min_rounds` samples, even if that
    takes more time.
    """
    if not candidates or settings.workload_seconds <= 0:
        return {}, 0
    typical = statistics.median(candidate.sample_seconds for candidate in candidates)
    wanted = {
        candidate.label: 1.0
        if candidate.is_baseline or candidate.label == "peak"
        else MAX_STRIDE
        if not candidate.entry.target
        else candidate.sample_seconds / (SLOW * typical)
        for candidate in candidates
    }
    strides = {label: _stride(stride) for label, stride in wanted.items()}
    round_seconds = sum(candidate.sample_seconds / strides[candidate.label] for candidate in candidates)
    fitting = int(settings.workload_seconds / settings.generations / round_seconds)
    count = min(settings.max_rounds, max(settings.min_rounds, fitting))
    return {label: _stride(min(stride, count / settings.min_rounds)) for label, stride in strides.items()}, count


def _stride(wanted: float) -> int:
    """Return the largest stride that is wanted, up to MAX_STRIDE, with which a row gets around to every CPU."""
    most = min(MAX_STRIDE, max(1, int(wanted)))
    return next(stride for stride in range(most, 0, -1) if math.gcd(stride, len(usable_cpus())) == 1)
