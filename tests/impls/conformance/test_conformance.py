"""The reference against numerical derivatives, and the checks against correct and incorrect implementations."""

import inspect
import re
import warnings
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from correct_code import BUGS, Correct, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_bugs import DropsLastBatch, Exits, StaleDelta, SumInStep
from planted_contract_bugs import OverwritesTargets

from impls.conformance.kit import CHECKS, EPOCH_STEPS, check, check_workload, numerical_warnings
from impls.conformance.reference import elementwise, reference_epoch, reference_gradients
from impls.conformance.tolerance import TOLERANCES, gradient_errors, parameter_errors
from impls.conformance.trial import Factory
from impls.conformance.violation import Violation
from impls.interface import Array, Batch, Implementation, Parameters

SIZES = st.lists(st.integers(1, 6), min_size=3, max_size=6).map(tuple)  # two to five layers of weights


def cost(parameters: Parameters, x: Array, y: Array) -> Any:
    """Return the quadratic cost, real or complex: the definition, one example and one unit at a time."""
    total = 0.0 * parameters.weights[0][0, 0]
    for x_i, y_i in zip(x, y, strict=True):
        a = x_i
        for W, b in zip(parameters.weights, parameters.biases, strict=True):
            a = np.array([1.0 / (1.0 + np.exp(-(np.sum(W_j * a) + b_j))) for W_j, b_j in zip(W, b, strict=True)])
        total += np.sum((a - y_i) ** 2)
    return total / (2.0 * len(x))


def moved(parameters: Parameters, kind: int, layer: int, index: tuple[int, ...], by: complex) -> Parameters:
    copies = elementwise(lambda tensor: tensor.astype(complex), parameters)
    copies[kind][layer][index] += by
    return copies


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, examples=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_reference_is_the_derivative_of_the_cost(sizes: tuple[int, ...], examples: int, seed: int) -> None:
    """The complex step dC/dp = Im C(p + ih) / h has no cancellation: it is correct to rounding."""
    parameters, x, y = draw(sizes, examples, seed)
    gradients = reference_gradients(parameters, x, y)
    h = 1e-30
    for kind in (0, 1):
        for layer, gradient in enumerate(gradients[kind]):
            for index in np.ndindex(gradient.shape):
                expected = cost(moved(parameters, kind, layer, index, 1j * h), x, y).imag / h
                assert gradient[index] == pytest.approx(expected, rel=1e-10, abs=1e-15)


def test_reference_is_silent_finite_and_accurate_when_saturated() -> None:
    b = np.array([1e5, -1e5, 800.0, -800.0, 30.0, -30.0])
    parameters = Parameters([np.zeros((6, 1))], [b])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients = reference_gradients(parameters, np.ones((1, 1)), np.full((1, 6), 0.5))
    assert np.all(np.isfinite(gradients.biases[0]))
    assert gradients.biases[0][4] == pytest.approx(0.5 * np.exp(-30.0), rel=1e-11)
    assert gradients.biases[0][5] == pytest.approx(-0.5 * np.exp(-30.0), rel=1e-11)


def test_reference_epoch_is_steps_in_order_with_the_short_last_batch() -> None:
    parameters, x, y = draw((3, 4, 2), 5, seed=4)
    order = np.array([3, 0, 4, 2, 1])
    expected = parameters
    for rows in ([3, 0], [4, 2], [1]):
        gradient = reference_gradients(expected, x[rows], y[rows])
        expected = elementwise(lambda p, dp: p - 0.5 * dp, expected, gradient)
    result = reference_epoch(parameters, x, y, order, 2, 0.5)
    elementwise(partial(np.testing.assert_allclose, rtol=1e-14), result, expected)


# --- The comparison ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "biases", "errors"),
    [
        ([np.ones((1, 2))], [np.ones(1)], ""),
        ([np.ones((1, 2))], [], "biases[0]: missing tensor"),
        ([np.ones((1, 2))] * 2, [np.ones(1)], "weights[1]: unexpected tensor"),
        ([np.ones((2, 1))], [np.ones(1)], "weights[0]: expected shape (1, 2), got (2, 1)"),
        ([np.ones((1, 2))], [np.full(1, 1.5)], "biases[0]: relative error 5.0e-01, allowed 1e-12"),
        ([np.ones((1, 2))], [np.full(1, np.nan)], "biases[0]: relative error nan, allowed 1e-12"),
    ],
)
def test_gradient_errors_say_what_is_wrong(weights: list[Array], biases: list[Array], errors: str) -> None:
    expected = Parameters([np.ones((1, 2))], [np.ones(1)])
    assert gradient_errors(Parameters(weights, biases), expected, "float64") == errors


@pytest.mark.parametrize(("error", "allowed"), [(0.5e-4, True), (2e-4, False), (np.nan, False)])
def test_parameter_errors_are_relative_to_the_move(error: float, allowed: bool) -> None:
    before, after = (Parameters([np.full((1, 1), value)], [np.zeros(1)]) for value in (9.0, 10.0))
    result = Parameters([after.weights[0] + error], after.biases)
    assert (parameter_errors(result, before, after, 1, "float32") == "") is allowed


@pytest.mark.parametrize("examples", [1, 10_000])
def test_parameter_errors_allow_one_rounding_per_example(examples: int) -> None:
    same = Parameters([np.full((1, 1), 10.0)], [np.zeros(1)])  # has not moved
    rounding = 10.0 * np.finfo("float32").eps * examples**0.5
    for factor, errors in ((0.9, False), (1.1, True)):
        result = Parameters([same.weights[0] + factor * rounding], same.biases)
        assert bool(parameter_errors(result, same, same, examples, "float32")) is errors


# --- The kit -----------------------------------------------------------------------------------------------------


@cache
def names(bug: Factory) -> set[str]:
    """Return the names of a planted bug's violations."""
    return {violation.check for violation in check(bug, threads=(1, 2), diagnosed=False)}


def test_correct_implementation_has_no_violation() -> None:
    assert check(Correct) == []


def test_warnings_of_a_correct_implementation_are_collected_and_no_violation() -> None:
    class Book(Correct):
        """The sigmoid as the book has it."""

        def sigmoid(self, z: Array) -> Array:
            return 1.0 / (1.0 + np.exp(-z))

        def step(self, batch: Batch, learning_rate: float) -> None:
            warnings.warn("invalid value encountered in dot", RuntimeWarning, stacklevel=1)  # OpenBLAS's false alarm
            super().step(batch, learning_rate)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(Book, threads=(1,)) == []
        (remark,) = numerical_warnings(Book)
    assert re.fullmatch(r"RuntimeWarning: overflow encountered in exp \(test_conformance\.py:\d+\)", remark)
    assert numerical_warnings(Correct) == []


def test_the_contract_says_all_that_is_demanded() -> None:
    contract = inspect.cleandoc(Implementation.__doc__ or "")  # from Python 3.13 on, it is not indented
    clauses = re.findall(r"^- ([^:]+): ", contract, re.MULTILINE)
    assert {entry.clause for entry in CHECKS} == set(clauses)


def test_threads_are_checked_although_the_networks_are_small() -> None:
    class WrongWhenShared(Correct):
        worth_sharing = 1 << 40

        def step(self, batch: Batch, learning_rate: float) -> None:
            super().step(batch, 2 * learning_rate if self.is_worth_sharing(len(batch.x)) else learning_rate)

    shared: Factory = WrongWhenShared
    alone = {violation.check for violation in check(shared, threads=[1])}
    assert alone == {"more-threads-than-examples"}
    assert "step" in names(shared)


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_planted_bug_is_rejected_by_name(bug: Any) -> None:
    assert BUGS[bug] <= names(bug), f"{bug.__doc__} Found: {sorted(names(bug))}"


def test_every_check_rejects_a_planted_bug() -> None:
    """A check that no bug fails might be unable to fail."""
    assert {entry.name for entry in CHECKS} == set().union(*BUGS.values())


def test_exceptions_are_violations_and_stop_nothing() -> None:
    result = {violation.check: violation.detail for violation in check(Exits, dtypes=("float64",), threads=(1,))}
    assert "raised SystemExit: 3" in result["gradient"]
    assert len(result) > 10


def test_declared_dtypes_are_honoured() -> None:
    class Float64Only(Correct):
        dtypes = ("float64",)

    assert check(Float64Only, threads=(1,)) == []
    with pytest.raises(ValueError, match="nothing would be checked"):
        check(Float64Only, dtypes=("float32",))


def test_factory_may_be_a_function_and_a_dtype_without_tolerance_is_refused() -> None:
    def construct(sizes: Sequence[int], batch_size: int, dtype: str, threads: int) -> Implementation:
        return Correct(sizes, batch_size, dtype, threads)

    assert check(construct, threads=(1,)) == []
    with pytest.raises(ValueError, match="float64 or float32, got float16"):
        check(construct, dtypes=("float16",))


@pytest.mark.parametrize("result", [None, (), ([], [], [])], ids=repr)
def test_gradient_of_another_type_is_a_violation(result: Any) -> None:
    class Nonsense(Correct):
        def gradients(self, batch: Batch) -> Parameters:
            return result  # type: ignore[no-any-return]

    assert {"gradient", "one-example"} <= {violation.check for violation in check(Nonsense, threads=(1,))}


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize(("factor", "conforms"), [(0.1, True), (10.0, False)])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_tolerance_is_relative_to_the_norm(dtype: str, factor: float, conforms: bool) -> None:
    class Off(Correct):
        def gradients(self, batch: Batch) -> Parameters:
            dW, db = super().gradients(batch)
            scale = 1.0 + factor * TOLERANCES[dtype]
            return Parameters([scale * W for W in dW], db)

    assert ("gradient" not in {violation.check for violation in check(Off, (dtype,), (1,))}) is conforms


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_and_infinity_never_pass(wrong: float) -> None:
    class One(Correct):
        def bias_gradient(self, delta: Array) -> Array:
            return delta.sum(axis=0) * wrong  # type: ignore[no-any-return]

    assert {"gradient", "step", "epoch-order"} <= names(One)


# --- The short check before timing -------------------------------------------------------------------------------


def short_check(
    cls: type[Implementation], *, epoch: bool, dtype: str = "float64", examples: int = 7
) -> list[Violation]:
    parameters, x, y = draw((6, 5, 4, 3), examples, seed=5, dtype=dtype)
    with cls((6, 5, 4, 3), 3 if epoch else examples, dtype) as implementation:
        return check_workload(implementation, parameters, x, y, 0.5, epoch=epoch)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("epoch", [False, True], ids=["step", "epoch"])
def test_short_check_accepts_a_correct_implementation(epoch: bool, dtype: str) -> None:
    assert short_check(Correct, epoch=epoch, dtype=dtype) == []


@pytest.mark.parametrize(
    ("bug", "epoch", "expected"),
    [
        (StaleDelta, False, None),
        (SumInStep, False, {"step"}),
        (DropsLastBatch, False, set()),
        (DropsLastBatch, True, {"epoch-order"}),
        (OverwritesTargets, False, {"inputs-unchanged"}),
    ],
)
def test_short_check_rejects_by_name(bug: type[Implementation], epoch: bool, expected: set[str] | None) -> None:
    if expected is None:  # an exception of the row is left to the caller
        with pytest.raises(ValueError, match="matmul"):
            short_check(bug, epoch=epoch)
    else:
        assert {violation.check for violation in short_check(bug, epoch=epoch)} == expected


def test_short_check_leaves_the_parameters_loaded() -> None:
    parameters, x, y = draw((3, 4, 2), 6, seed=6)
    for epoch in (False, True):
        with Correct((3, 4, 2), 6) as implementation:
            check_workload(implementation, parameters, x, y, 3.0, epoch=epoch)
            left = implementation.parameters()
        elementwise(np.testing.assert_array_equal, left, parameters)


@pytest.mark.parametrize("examples", [3 * EPOCH_STEPS, 3 * EPOCH_STEPS + 1, 3 * EPOCH_STEPS + 100])
def test_short_check_of_a_long_epoch_keeps_the_short_last_batch(examples: int) -> None:
    result = short_check(DropsLastBatch, epoch=True, examples=examples)
    assert bool(result) is bool(examples % 3)
    assert short_check(Correct, epoch=True, examples=examples) == []
