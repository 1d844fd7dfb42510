"""Model-based testing: bugs that no named check finds, programs that can be run, limits of time and of rounding."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explored_bugs import EXPLORED_BUGS, ScratchOfEpochs, StaleParameters
from numpy.typing import NDArray
from planted_bugs import Queues, Right

from impls.conformance.exploration import Exploration, explore, failing
from impls.conformance.kit import check
from impls.conformance.model import LARGEST, Model, OutOfRange, Violated
from impls.conformance.program import Close, Epoch, Gradients, Load, Open, Overwrite, Prepare, Read, Redraw, lines
from impls.conformance.reference import PerturbedReference, Step, reference_epoch, reference_gradients
from impls.interface import Batch, Implementation, Parameters

TESTS = Path(__file__).parent


def explored(
    row: type[Implementation], examples: int = 2000, seconds: float = 60.0, shrink: float = 0.0
) -> Exploration:
    target = f"{TESTS / f'{row.__module__}.py'}:{row.__name__}"
    return explore(row, target, examples=examples, seed=1, seconds=seconds, shrink_seconds=shrink)


def names(parameters: Parameters) -> list[Any]:
    return [*parameters.weights, *parameters.biases]


# --- What is found -----------------------------------------------------------------------------------------------


@pytest.mark.slow("explores networks")
@pytest.mark.parametrize("bug", EXPLORED_BUGS, ids=lambda bug: bug.__name__)
def test_bug_that_passes_the_named_checks_is_found(bug: type[Implementation]) -> None:
    assert check(bug, ("float64",), (1, 2)) == []
    found = explored(bug).violation
    assert found, bug.__doc__
    assert found.check == "exploration"


def test_right_implementation_passes() -> None:
    assert explored(Right, examples=60) == Exploration(None, 60)


@pytest.mark.slow("explores networks")
def test_the_shortest_program_can_be_run_and_shows_the_failure(tmp_path: Path) -> None:
    violation = explored(ScratchOfEpochs, shrink=30.0).violation
    assert violation
    body = violation.program.partition("\nRow = ")[2].splitlines()[1:]
    calls = re.findall(r"row1\.(\w+)\(", violation.program)
    assert calls == ["load", "prepare", "gradients", "prepare_data", "epoch", "parameters"]
    assert len(body) <= 14
    assert violation.setting == "1-1, batch size 1, float64, 1 thread"
    (tmp_path / "shown.py").write_text(violation.program)
    done = subprocess.run(
        [sys.executable, "shown.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"impls.conformance.model.Violated: {violation.found}"


def test_the_same_seed_finds_the_same() -> None:
    first, second = explored(StaleParameters), explored(StaleParameters)
    assert first.programs == second.programs
    assert first.violation == second.violation


def test_an_exception_is_a_violation_with_its_place() -> None:
    class Raises(Right):
        def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
            raise RuntimeError("the tensor\nwas not there")

    found = explored(Raises, shrink=30.0).violation
    assert found
    place = f"test_exploration.py:{Raises.epoch.__code__.co_firstlineno + 1}"
    assert found.found == f"raised RuntimeError: the tensor was not there ({place})"
    assert found.frames[-1].startswith(f"{place}, in epoch: ")
    assert found.traceback.splitlines()[-1] == "was not there"
    assert found.program.splitlines()[-1] == "row1.epoch(data1, order, 1.0)"


def test_a_wrong_gradient_has_a_diagnosis() -> None:
    class Doubles(Right):
        def gradients(self, batch: Batch) -> Parameters:
            dW, db = super().gradients(batch)
            return Parameters([2 * g for g in dW], [2 * g for g in db])

    body = lines([Open((4, 3, 2), 5, "float64", 1, 0, 1.0), Prepare(0, 4, 0, 1.0, 1.0), Gradients(0)], "float64")
    failure = failing(body, Doubles)
    assert failure
    assert isinstance(failure.error, Violated)
    assert failure.error.diagnose() == "every gradient is 2 times too large: the 1/2 of the cost is missing"


def test_time_is_bounded() -> None:
    found = explored(Right, examples=1_000_000, seconds=0.5)
    assert found.violation is None
    assert 0 < found.programs < 1_000_000


def test_no_program_leaves_a_row_open() -> None:
    closed = []

    class Counts(Right):
        def close(self) -> None:
            closed.append(self)

    body = lines([Open((2, 1), 1, "float64", 1, 0, 1.0), Open((2, 1), 1, "float64", 1, 0, 1.0)], "float64")
    assert failing(body, Counts) is None
    assert len({id(row) for row in closed}) == 2


def test_rows_that_compile_for_each_shape_get_few_shapes() -> None:
    shapes = set()

    class Compiles(Right):
        compiles_per_shape = True

        def step(self, batch: Batch, learning_rate: float) -> None:
            shapes.add((self.sizes, len(batch.x)))
            super().step(batch, learning_rate)

    assert explored(Compiles, examples=100).violation is None
    assert 3 < len(shapes) <= 12


# --- Programs ----------------------------------------------------------------------------------------------------


def test_a_program_makes_what_its_operations_need() -> None:
    body = lines([Epoch(3, 0.1, 0, 2, repeats=False)], "float32")
    assert body == [
        'model1 = Model((1, 1), 1, "float32", 1, Row.cost)',
        'row1 = Row((1, 1), 1, "float32", 1)',
        "p = model1.draw_parameters(seed=0)",
        "model1.load(p)",
        "row1.load(p)",
        "x1, y1 = model1.draw_examples(1, seed=0)",
        "data1 = row1.prepare_data(x1, y1)",
        "order = np.random.default_rng(2).permutation(1)",
        "model1.epoch(x1, y1, order, 0.1)",
        "row1.epoch(data1, order, 0.1)",
        "model1.parameters(row1.parameters())",
        "model1.unchanged()",
    ]


def test_a_closed_row_is_not_called_again() -> None:
    body = lines([Gradients(0), Close(0), Gradients(0), Read(0), Load(0, 1, 0.1)], "float64")
    assert not any("row1" in line or "batch1" in line for line in body[body.index("row1.close()") + 1 :])
    assert body[-2:] == ["model1.unchanged()", "model2.unchanged()"]


def test_what_the_caller_owns_is_written_to() -> None:
    assert failing(lines([Gradients(0), Overwrite(0), Gradients(0)], "float64"), Right) is None
    body = lines([Gradients(0), Redraw(0, 1, 1.0, 1.0), Gradients(0)], "float64")
    assert failing(body, Right) is None
    assert body.count("batch1 = row1.prepare(x1, y1)") == 2


def test_a_step_that_is_only_queued_is_found_by_what_is_drawn_next() -> None:
    queued = lines([Prepare(0, 0, 0, 1.0, 1.0)], "float64")[:-2]
    queued += ["model1.step(x1, y1, 1.0)", "row1.step(batch1, 1.0)", "model1.redraw_examples(x1, y1, seed=1)"]
    queued += ["model1.parameters(row1.parameters())"]
    assert failing(queued, Right) is None
    assert failing(queued, Queues)


# --- The model and its tolerance ---------------------------------------------------------------------------------


def test_the_model_finds_modified_inputs_first() -> None:
    model = Model((2, 1), 3)
    p = model.draw_parameters(seed=0)
    model.load(p)
    x, y = model.draw_examples(3, seed=0)
    x[0, 0] += 1
    with pytest.raises(Violated, match="x: was modified") as raised:
        model.gradient(reference_gradients(p, x, y), x, y)
    assert raised.value.diagnose() == "a call modifies its inputs: x"


def test_the_model_says_nothing_of_numbers_near_overflow() -> None:
    model = Model((2, 1), 3)
    model.load(model.draw_parameters(seed=0))
    x, y = model.draw_examples(3, seed=0, y_scale=1e3 * LARGEST)
    with pytest.raises(OutOfRange):
        model.step(x, y, 1.0)


@pytest.mark.parametrize(("scale", "raised"), [(1.0, Violated), (10.0, OutOfRange)])
def test_the_model_says_nothing_where_rounding_decides(scale: float, raised: type[Exception]) -> None:
    """Twenty-five steps of a deep network with large weights in float32: found as a right row that was rejected."""
    model = Model((69, 38, 17, 6, 2, 5, 2, 64), 12, "float32")
    model.load(model.draw_parameters(seed=3, scale=scale))
    x, y = model.draw_examples(7, seed=2)
    for _ in range(25):
        model.step(x, y, 3.0)
    off = Parameters([2 * W.astype("float32") for W in model._now.weights], model._now.biases)
    with pytest.raises(raised):
        model.parameters(off)
    with pytest.raises(raised):
        model.gradient(off, x, y)


def test_parameters_are_exact_without_a_step() -> None:
    model = Model((2, 1), 3)
    p = model.draw_parameters(seed=0)
    model.load(p)
    p.weights[0][0, 0] = np.nextafter(p.weights[0][0, 0], 9)
    with pytest.raises(Violated):
        Model.parameters(model, p)


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twins_are_the_oracles_but_for_rounding(dtype: str, cost: str) -> None:
    model = Model((4, 3, 2), 5, dtype, 1, cost)
    p = model.draw_parameters(seed=1)
    x, y = model.draw_examples(5, seed=2)
    twins = PerturbedReference(p, [Step(x, y, 0.5)] * 3, dtype, cost)
    expected = p
    for _ in range(3):
        expected = reference_epoch(expected, x, y, np.arange(5), 5, 0.5, cost)
    unit = np.finfo(dtype).eps
    gradient = reference_gradients(expected, x, y, cost)
    for right, all_twins in ((expected, twins.parameters()), (gradient, twins.gradients(x, y))):
        for twin in all_twins:
            for mine, theirs in zip(names(twin), names(right), strict=True):
                error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
                assert unit < error < 1e4 * unit


@pytest.mark.parametrize(("factor", "found"), [(1e-7, False), (1e-2, True)])
def test_a_saturated_gradient_may_be_off_by_rounding_and_by_no_more(factor: float, found: bool) -> None:
    """Behind saturated units, a right float32 row has lost digits; an error of 1 per cent is still found."""

    class Off(Right):
        def gradients(self, batch: Batch) -> Parameters:
            dW, db = super().gradients(batch)
            return Parameters([g * np.float32(1 + factor) for g in dW], db)

    body = lines([Open((6, 5, 4), 7, "float32", 1, 0, 10.0), Prepare(0, 6, 0, 1.0, 1.0), Gradients(0)], "float32")
    assert bool(failing(body, Off)) is found
