"""Property-based testing: bugs that no named check finds, scripts that can be run, limits of time and of rounding."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explored_bugs import EXPLORED_BUGS, InferenceMode, ScratchOfEpochs
from numpy.typing import NDArray
from planted_bugs import Right

from impls import ROOT
from impls.conformance.exploration import Exploration, explore
from impls.conformance.kit import check
from impls.conformance.model import CheckedCalls, OutOfRange, Violated
from impls.conformance.reference import PerturbedReference, Step, reference_epoch, reference_gradients
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

    class Counts(Right):
        def load(self, parameters: Parameters) -> None:
            opened.add(self)
            super().load(parameters)

        def close(self) -> None:
            closed.add(self)

    assert explored(Counts, examples=20) == Exploration(None, 20)
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
    assert done.stderr.splitlines()[-1] == f"impls.conformance.model.Violated: {violation.found}"


def test_the_same_seed_finds_the_same() -> None:
    assert explored(InferenceMode) == explored(InferenceMode)


@pytest.mark.slow("shrinks")
def test_an_exception_is_a_violation_with_its_place() -> None:
    class Raises(Right):
        def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
            raise RuntimeError("the tensor\nwas not there")

    violation = explored(Raises, shrink=120.0).violation
    assert violation
    place = f"test_exploration.py:{Raises.epoch.__code__.co_firstlineno + 1}"
    assert violation.found == f"raised RuntimeError: the tensor was not there ({place})"
    assert violation.frames[-1].startswith(f"{place}, in epoch: ")
    assert violation.traceback.splitlines()[-1] == "was not there"
    last = "checked.epoch(examples=examples2, learning_rate=1.0, length=1, repeats=False, seed=0)"
    assert violation.program.splitlines()[-1] == violation.setting == last


def test_time_is_bounded() -> None:
    found = explored(Right, examples=1_000_000, seconds=0.5)
    assert found.violation is None
    assert 0 < found.programs < 1_000_000


def test_an_implementation_that_compiles_for_each_shape_gets_few_shapes() -> None:
    shapes = set()

    class Compiles(Right):
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


class Doubles(Right):
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
    checked, examples = prepared(Right)
    with pytest.raises(OutOfRange):
        checked.step(examples=examples, learning_rate=1e15, times=2)


def test_modified_inputs_are_found() -> None:
    class Scales(Right):
        def gradients(self, batch: Batch) -> Parameters:
            result = super().gradients(batch)
            batch.x[...] *= 2
            return result

    checked, examples = prepared(Scales)
    with pytest.raises(Violated, match="x: was modified"):
        checked.gradients(examples=examples)


def test_parameters_are_exact_without_a_step() -> None:
    class Rounds(Right):
        def parameters(self) -> Parameters:
            weights, biases = super().parameters()
            return Parameters([np.nextafter(W, 9) for W in weights], biases)

    checked, examples = prepared(Rounds)
    with pytest.raises(Violated):
        checked.parameters(instance=examples.instance)


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twins_are_the_references_but_for_rounding(dtype: str, cost: str) -> None:
    rng = np.random.default_rng(1)
    p = Parameters([rng.standard_normal((3, 4)), rng.standard_normal((2, 3))], [np.ones(3), np.zeros(2)])
    p = Parameters([W.astype(dtype) for W in p.weights], [b.astype(dtype) for b in p.biases])
    x, y = rng.standard_normal((5, 4)).astype(dtype), rng.random((5, 2)).round().astype(dtype)
    twins = PerturbedReference(p, [Step(x, y, 0.5)] * 3, dtype, cost)
    expected = p
    for _ in range(3):
        expected = reference_epoch(expected, x, y, np.arange(5), 5, 0.5, cost)
    gradient = reference_gradients(expected, x, y, cost)

    def arrays(parameters: Parameters) -> list[Array]:
        return [*parameters.weights, *parameters.biases]

    for right, all_twins in ((expected, twins.parameters()), (gradient, twins.gradients(x, y))):
        for twin in all_twins:
            for mine, theirs in zip(arrays(twin), arrays(right), strict=True):
                error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
                assert np.finfo(dtype).eps < error < 1e4 * np.finfo(dtype).eps


@pytest.mark.parametrize(("factor", "is_violation"), [(1e-7, False), (1e-2, True)])
def test_a_saturated_gradient_may_be_off_by_rounding_and_by_no_more(factor: float, is_violation: bool) -> None:
    """Behind saturated units, a correct float32 implementation has lost digits; an error of 1 % is still found."""

    class Off(Right):
        def gradients(self, batch: Batch) -> Parameters:
            dW, db = super().gradients(batch)
            return Parameters([g * np.float32(1 + factor) for g in dW], db)

    checked, examples = prepared(Off, (6, 5, 4), "float32", scale=10.0)
    with pytest.raises(Violated) if is_violation else nullcontext():
        checked.gradients(examples=examples)
