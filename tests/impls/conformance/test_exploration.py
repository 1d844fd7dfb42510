"""Property-based testing: bugs that no named check finds, scripts that can be run, limits of time and of rounding."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from correct_code import Correct, draw
from explored_bugs import EXPLORED_BUGS, InferenceMode, ScratchOfEpochs
from numpy.typing import NDArray

from impls import ROOT
from impls.conformance.exploration import Exploration, explore
from impls.conformance.kit import check
from impls.conformance.model import CheckedCalls, OutOfRange, Violated
from impls.conformance.reference import (
    GradientStep,
    PerturbedReference,
    elementwise,
    reference_epoch,
    reference_gradients,
)
from impls.interface import Array, Batch, Implementation, Parameters

SUPPORT = ROOT / "tests" / "support"


def explored(
    implementation: type[Implementation], examples: int = 2000, seconds: float = 240.0, shrink: float = 0.0
) -> Exploration:
    target = f"{SUPPORT / f'{implementation.__module__}.py'}:{implementation.__name__}"
    return explore(implementation, target, examples=examples, seed=1, seconds=seconds, shrink_seconds=shrink)


# --- Call sequences ----------------------------------------------------------------------------------------------


@pytest.mark.slow("explores networks")
@pytest.mark.parametrize("bug", EXPLORED_BUGS, ids=lambda bug: bug.__name__)
def test_bug_that_passes_the_named_checks_is_found(bug: type[Implementation]) -> None:
    assert check(bug, ("float64",), (1, 2)) == []
    violation = explored(bug).violation
    assert violation, bug.__doc__
    assert violation.check == "exploration"


def test_a_correct_implementation_passes_and_every_instance_is_closed() -> None:
    opened, closed = set(), set()

    class Counts(Correct):
        def load(self, parameters: Parameters) -> None:
            opened.add(self)
            super().load(parameters)

        def close(self) -> None:
            closed.add(self)

    result = explored(Counts, examples=20)
    assert (result.violation, result.programs) == (None, 20)
    assert opened == closed


@pytest.mark.slow("explores networks")
def test_the_shortest_script_can_be_run_and_shows_the_failure(tmp_path: Path) -> None:
    violation = explored(ScratchOfEpochs, shrink=120.0).violation
    assert violation
    calls = [line.rpartition("checked.")[2].partition("(")[0] for line in violation.program.splitlines()[5:]]
    assert calls == ["construct", "prepare", "gradients", "epoch"]
    assert violation.setting.startswith("checked.epoch(")
    (tmp_path / "shown.py").write_text(violation.program)
    done = subprocess.run(
        [sys.executable, "shown.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"impls.conformance.model.Violated: {violation.error}"


def test_the_same_seed_finds_the_same() -> None:
    assert explored(InferenceMode).violation == explored(InferenceMode).violation


@pytest.mark.slow("shrinks")
def test_an_exception_is_a_violation_with_its_place() -> None:
    class Raises(Correct):
        def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
            raise RuntimeError("the tensor\nwas not there")

    violation = explored(Raises, shrink=120.0).violation
    assert violation
    place = f"test_exploration.py:{Raises.epoch.__code__.co_firstlineno + 1}"
    assert violation.error == f"raised RuntimeError: the tensor was not there ({place})"
    assert violation.frames[-1].startswith(f"{place}, in epoch: ")
    assert violation.traceback.splitlines()[-1] == "was not there"
    last = "checked.epoch(examples=examples2, learning_rate=1.0, length=1, repeats=False, seed=0)"
    assert violation.program.splitlines()[-1] == violation.setting == last


def test_time_is_bounded() -> None:
    result = explored(Correct, examples=1_000_000, seconds=0.5)
    assert result.violation is None
    assert 0 < result.programs < 1_000_000


def test_an_implementation_that_compiles_for_each_shape_gets_few_shapes() -> None:
    shapes = set()

    class Compiles(Correct):
        compiles_per_shape = True

        def step(self, batch: Batch, learning_rate: float) -> None:
            shapes.add((self.sizes, len(batch.x)))
            super().step(batch, learning_rate)

    assert explored(Compiles, examples=100).violation is None
    assert 3 < len(shapes) <= 6


# --- The model and its tolerance ---------------------------------------------------------------------------------


def prepared(
    factory: type[Implementation], sizes: tuple[int, ...] = (2, 1), dtype: str = "float64", scale: float = 1.0
) -> tuple[CheckedCalls, Any]:
    """Return checked calls of an instance, and examples of it."""
    checked = CheckedCalls(factory)
    instance = checked.construct(network=(sizes, 7), dtype=dtype, threads=1, scale=scale)
    return checked, checked.prepare(instance=instance, count=7, scale=1.0)


class Doubles(Correct):
    """Returns twice the weights, and twice their gradient."""

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = super().gradients(batch)
        return Parameters([2 * g for g in dW], db)

    def parameters(self) -> Parameters:
        return Parameters([2 * W for W in self.weights], self.biases)


@pytest.mark.parametrize(
    ("result", "scale", "raised"),
    [("gradients", 1.0, Violated), ("parameters", 1.0, Violated), ("parameters", 10.0, OutOfRange)],
)
def test_nothing_is_said_where_rounding_decides(result: str, scale: float, raised: type[Exception]) -> None:
    """Twenty-five steps of a deep network with large weights in float32 once rejected a correct implementation."""
    checked, examples = prepared(Doubles, (69, 38, 17, 6, 2, 5, 2, 64), "float32", scale)
    checked.step(examples=examples, learning_rate=3.0, times=25)
    arguments = {"examples": examples} if result == "gradients" else {"instance": examples.instance}
    with pytest.raises(raised):
        getattr(checked, result)(**arguments)


def test_nothing_is_said_of_numbers_near_overflow() -> None:
    checked, examples = prepared(Correct)
    with pytest.raises(OutOfRange):
        checked.step(examples=examples, learning_rate=1e15, times=2)


def test_modified_inputs_are_found() -> None:
    class Scales(Correct):
        def gradients(self, batch: Batch) -> Parameters:
            result = super().gradients(batch)
            batch.x[...] *= 2
            return result

    checked, examples = prepared(Scales)
    with pytest.raises(Violated, match="x: was modified"):
        checked.gradients(examples=examples)


def test_parameters_are_exact_without_a_step() -> None:
    class Rounds(Correct):
        def parameters(self) -> Parameters:
            weights, biases = super().parameters()
            return Parameters([np.nextafter(W, 9) for W in weights], biases)

    checked, examples = prepared(Rounds)
    with pytest.raises(Violated):
        checked.parameters(instance=examples.instance)


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_perturbed_references_are_off_by_rounding(dtype: str, cost: str) -> None:
    p, x, y = draw((4, 3, 2), 5, 1, dtype)
    y = y.round()
    perturbed = PerturbedReference(p, [GradientStep(x, y, 0.5)] * 3, dtype, cost)
    expected = p
    for _ in range(3):
        expected = reference_epoch(expected, x, y, np.arange(5), 5, 0.5, cost)
    gradient = reference_gradients(expected, x, y, cost)

    def assert_close(result: Array, tensor: Array) -> None:
        error = np.linalg.norm(result - tensor) / np.linalg.norm(tensor)
        assert np.finfo(dtype).eps < error < 1e4 * np.finfo(dtype).eps

    for result in perturbed.parameters():
        elementwise(assert_close, result, expected)
    for result in perturbed.gradients(x, y):
        elementwise(assert_close, result, gradient)


@pytest.mark.parametrize(("factor", "is_violation"), [(1e-7, False), (1e-2, True)])
def test_a_saturated_gradient_may_be_off_by_rounding_and_by_no_more(factor: float, is_violation: bool) -> None:
    """Behind saturated units, a correct float32 implementation has lost digits; an error of 1 % is still found."""

    class Off(Correct):
        def gradients(self, batch: Batch) -> Parameters:
            dW, db = super().gradients(batch)
            return Parameters([g * np.float32(1 + factor) for g in dW], db)

    checked, examples = prepared(Off, (6, 5, 4), "float32", scale=10.0)
    with pytest.raises(Violated) if is_violation else nullcontext():
        checked.gradients(examples=examples)
