"""What is timed is what is checked: rows that pass the gate and are wrong afterwards are not timed as good."""

import re

import pytest
from sampling import by_label, sample, summary

from bench.analysis.notes import notes_on_workloads
from bench.conditions import Workload
from bench.records import Outcome, Result
from bench.system.cpus import cores
from bench.worker import timing
from bench.worker.timing import Arrangement, TimedCall
from bench.workloads.names import default_workloads
from impls import ROOT

pytestmark = pytest.mark.alone

FRAUDS = ROOT / "tests" / "support" / "timed_frauds.py"
BOOK, EPOCH = (default_workloads()[name] for name in ("book", "epoch"))


def sampled(workload: Workload, fraud: str) -> dict[str, Result]:
    """Sample an implementation beside the baseline; return the results by label, with their estimates."""
    sampler = sample(
        [f"{FRAUDS}:{fraud}"], workload, examples=1500, workload_seconds=0.5, min_rounds=5, budget_seconds=5.0, seed=3
    )
    summary(sampler)
    return by_label(sampler)


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize(
    ("workload", "fraud", "outcome", "reason"),
    [
        (BOOK, "HandsOver", Outcome.RETURNED_EARLY, "% of the work is done after the timed calls have returned"),
        (BOOK, "Naps", Outcome.INCORRECT_AFTER_TIMING, "weights[0]: error "),
        (BOOK, "Remembers", Outcome.INCORRECT_AFTER_TIMING, "weights[0]: error "),
        (BOOK, "HalfRate", Outcome.INCORRECT_AFTER_TIMING, "weights[0]: error "),
        (
            BOOK,
            "SlowsTheClock",
            Outcome.INCONSISTENT_TIMING,
            "the clock in its process is not the one of other processes",
        ),
        (EPOCH, "EndsEarly", Outcome.INCORRECT_AFTER_TIMING, "weights[0]: error "),
    ],
)
def test_a_row_that_passes_the_gate_and_is_wrong_when_it_is_timed(
    workload: Workload, fraud: str, outcome: Outcome, reason: str
) -> None:
    rows = sampled(workload, fraud)
    row = rows.pop(fraud)
    assert row.outcome == outcome
    assert bool(re.fullmatch(r"\d+ calls?", row.outcome_detail)) == (outcome == Outcome.INCORRECT_AFTER_TIMING)
    assert reason in row.reason
    assert not row.timed
    assert row.speed_up is None
    assert {other.outcome for other in rows.values()} == {"ok"}  # it costs only itself
    assert all(other.worst_error is not None and other.worst_error < 0.3 for other in rows.values())
    assert any(f"{fraud}: {row.outcome_text}: " in str(note) for note in notes_on_workloads([[*rows.values(), row]]))


@pytest.mark.slow("runs benchmarks")
def test_a_row_that_keeps_a_cpu_busy_while_others_are_timed() -> None:
    row = sampled(BOOK, "Disturbs")["Disturbs"]
    assert row.outcome == Outcome.INCONSISTENT_TIMING
    assert re.search("CPUs while others were timed|beyond the time it reported", row.reason)  # both are true of it


def test_work_in_other_processes_is_counted_and_confined() -> None:
    rows = sampled(BOOK, "Delegates")
    row = rows["Delegates"]
    assert row.outcome == "ok", row.reason
    assert row.strayed == ""
    own = rows["control"]
    assert row.cores_used is not None
    assert own.cores_used is not None
    assert row.cores_used > 0.5 * own.cores_used  # of a worker that only waits it would be next to nothing


@pytest.mark.skipif(cores() < 2, reason="one CPU only")
def test_a_thread_that_leaves_its_cpus_is_told() -> None:
    assert re.fullmatch(
        r"a thread may run on CPUs [\d, ]+, but was given \d+", sampled(BOOK, "Strays")["Strays"].strayed
    )


def test_memory_that_grows_is_told() -> None:
    rows = sampled(BOOK, "Leaks")
    assert 7_000 < rows["Leaks"].processes[0].growth_bytes < 15_000
    assert rows["control"].processes[0].growth_bytes < 1_000


# --- A sample -----------------------------------------------------------------------------------------------------


def test_a_sample_lasts_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    call_seconds = 1e-4

    def time_calls(_function: object, _arguments: object, calls: int, _ranks: object) -> tuple[float, float]:
        return calls * call_seconds, calls * call_seconds

    monkeypatch.setattr(timing, "time_calls", time_calls)
    timed = TimedCall((lambda: None, ()), threads=1)
    assert timed.calibrate(0.005) == pytest.approx(1e-4)
    assert timed.calls * call_seconds >= 0.005
    call_seconds = 2e-5  # the machine was disturbed while it was calibrated
    taken = timed.sample()
    assert (taken.seconds / taken.calls, taken.cpu_seconds / taken.calls) == pytest.approx((2e-5, 2e-5))
    assert timed.calls * call_seconds >= 0.005


@pytest.mark.parametrize("calls", [1, 3])
def test_every_sample_goes_from_the_start_of_its_instance_to_what_is_left(calls: int) -> None:
    done: list[str] = []

    def arrange(instance: int) -> Arrangement:
        done.append(f"arrange {instance}")
        return (done.append, ("untimed",)), (done.append, ("timed",))

    def read() -> int:
        done.append("read")
        return len(done)

    timed = TimedCall((lambda: None, ()), 1, arrange, read)
    timed.calls = calls
    timed.arrange(7)
    taken = timed.sample()
    untimed = ["untimed", "read"] if calls > 1 else []  # A single call is long enough by itself.
    assert done == ["arrange 7", "read", "read", *untimed, *["timed"] * calls, "read"]
    assert (timed.left, taken.calls, taken.untimed_calls) == (len(done), calls, bool(untimed))
    assert (taken.read_after_one_seconds > 0) == bool(untimed)
