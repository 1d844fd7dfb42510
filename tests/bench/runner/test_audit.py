"""The judge: times that cannot be, work that goes on, and what the timed calls left behind."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from sampling import taken

from bench.conditions import Workload
from bench.runner.audit import Answered, inconsistency, missed_seconds, read_left, work_pending, wrong_dtypes
from bench.worker.protocol import HandedOver, Taken, Tensor

WORKLOAD = Workload("small", (3, 2), 1)


def answered(reply: Taken, before: float = 1e-4, after: float = 1e-4) -> Answered:
    return Answered(reply.started - before, reply, reply.ended + after)


GOOD = [taken(100.0 + number) for number in range(10)]


def test_nothing_is_wrong_with_a_good_row() -> None:
    assert inconsistency([answered(reply) for reply in GOOD], 2e-4) == ""
    assert work_pending(GOOD) == ""
    assert missed_seconds([answered(reply) for reply in GOOD]) == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("reply", "before", "after"),
    [
        (taken(), -0.001, 0.001),  # began before it was asked
        (taken(), 0.001, -0.001),  # ended after its answer was there
        (taken(ended=100.001), 1e-4, 1e-4),  # timed more than there was between begin and end
        (taken(ended=99.0), 1e-4, 1e-4),
    ],
)
def test_a_clock_that_is_not_everybodys_is_found(reply: Taken, before: float, after: float) -> None:
    found = [*(answered(good) for good in GOOD), answered(reply, before, after)]
    assert "the clock in its process is not the one of other processes" in inconsistency(found, 2e-4)


def test_work_that_was_not_told_of_is_found_unless_it_is_a_disturbance() -> None:
    late = [answered(reply, after=0.006) for reply in GOOD]
    assert "busy for 0.0061 s" in inconsistency(late, 2e-4)
    assert inconsistency([*late[1:], answered(GOOD[0])], 2e-4) == ""  # not every time
    assert inconsistency(late, 0.006) == ""  # all rows are late: the machine is


def test_a_row_that_computes_while_others_are_timed_is_found() -> None:
    busy = [answered(msgspec.structs.replace(reply, idle_cpus=0.8)) for reply in GOOD]
    assert inconsistency(busy, 2e-4) == "used 0.8 CPUs while others were timed"
    assert inconsistency([*busy, answered(GOOD[0])], 2e-4) == ""


def test_work_after_the_calls_is_found() -> None:
    late = [msgspec.structs.replace(reply, read_after_all_seconds=0.005) for reply in GOOD]
    assert work_pending(late) == "50% of the work is done after the timed calls have returned"
    assert work_pending(late[1:] + GOOD[:1]) == ""  # not every time


def test_work_after_one_call_is_found() -> None:
    late = [msgspec.structs.replace(reply, read_after_one_seconds=2e-4) for reply in GOOD]
    assert "of the work of a call is done after it has returned" in work_pending(late)
    alone = [msgspec.structs.replace(reply, read_after_one_seconds=0.0, untimed_calls=0) for reply in GOOD]
    assert work_pending(alone) == ""


def test_what_was_handed_over_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "exchange"
    W, b = np.arange(6.0).reshape(2, 3), np.array([7.0, 8.0])
    path.write_bytes(W.tobytes() + b.tobytes() + b"of an earlier row")
    handed_over = HandedOver([Tensor("float64", (2, 3))], [Tensor("float64", (2,))], children=False)
    weights, biases = read_left(path, handed_over)
    assert np.array_equal(weights[0], W)
    assert np.array_equal(biases[0], b)
    with pytest.raises(ValueError, match="expected 4000 numbers, found "):
        read_left(path, HandedOver([Tensor("float64", (4000,))], [], children=False))


def test_dtypes_are_compared() -> None:
    float64, float32 = Tensor("float64", (2, 3)), Tensor("float32", (2,))
    assert wrong_dtypes(HandedOver([float64], [float64], children=False), WORKLOAD) == ""
    found = wrong_dtypes(HandedOver([float64], [float32], children=False), WORKLOAD)
    assert found == "expected parameters of float64, found float32"
