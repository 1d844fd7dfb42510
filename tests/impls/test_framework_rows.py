"""The frameworks: the contract, when they compile, and that they wait for their results.

Those that are not installed, or need a GPU that is not there, are skipped with their reason; on a machine with a GPU,
`pytest tests/impls/test_framework_rows.py -k cuda` runs all of it on the GPU.
"""

import importlib
from typing import Any
from unittest import mock

import numpy as np
import pytest
from networks import draw, tensors

from bench.runner.audit import work_pending
from bench.worker.timing import TimedCall
from impls.conformance.kit import check, check_workload
from impls.conformance.reference import reference_gradients
from impls.interface import Array, Implementation, Parameters
from impls.registry import ENTRIES, find
from impls.support.errors import RowError

BOOK, LARGE = (784, 30, 10), (784, 512, 512, 10)


def implementations(*names: str) -> list[Any]:
    """Return implementations as pytest parameters, skipped with the reason where they are unavailable."""
    reasons = {name: ENTRIES[name].unavailable() for name in names}
    return [
        pytest.param(name, marks=pytest.mark.skipif(reason is not None, reason=f"{name} {reason}"))
        for name, reason in reasons.items()
    ]


COMPILED = ("torch_compiled", "jax", "jax_cuda")
ALL = tuple(name for name, entry in ENTRIES.items() if entry.framework)


def ready(name: str, sizes: tuple[int, ...], examples: int) -> tuple[Implementation, Any]:
    """Return an implementation with parameters loaded, and a mini-batch."""
    parameters, x, y = draw(sizes, examples, "float64")
    implementation = find(name).load()(sizes, examples)
    implementation.load(parameters)
    return implementation, implementation.prepare(x, y)


# --- All of them ----------------------------------------------------------------------------------------------------


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("name", implementations(*ALL))
def test_framework_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number of threads is enough: the others differ in how many the libraries are told to take.

    torch_compiled runs its traced graph as it is here: its compiler would take minutes for all networks of the kit.
    """
    cls = find(name).load()
    if name == "torch_compiled":
        monkeypatch.setattr(cls, "backend", "eager")
    assert [str(violation) for violation in check(cls, threads=(1,))] == []


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", implementations(*ALL))
def test_framework_is_correct_on_the_workloads(name: str, dtype: str) -> None:
    for sizes, batch_size, examples in ((BOOK, 10, 27), ((784, 100, 100, 100, 10), 64, 64)):
        parameters, x, y = draw(sizes, examples, dtype)
        with find(name).load()(sizes, batch_size, dtype) as implementation:
            violations = check_workload(implementation, parameters, x, y, 3.0, epoch=examples > batch_size)
        assert [str(violation) for violation in violations] == []


@pytest.mark.parametrize("name", implementations(*ALL))
def test_result_is_there_when_a_step_returns(name: str) -> None:
    implementation, batch = ready(name, LARGE, 256)
    with implementation:
        timed = TimedCall((implementation.step, (batch, 0.1)), 1, read=implementation.parameters)
        timed.sample()
        taken = []
        for instance in range(5):
            timed.arrange(instance)
            taken.append(timed.sample())
        assert work_pending(taken) == ""


# --- Compilation -------------------------------------------------------------------------------------------------


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("name", implementations(*COMPILED))
def test_compilations_are_counted_and_end(name: str) -> None:
    implementation, batch = ready(name, (9, 8, 7), 6)
    smaller = implementation.prepare(*draw((9, 8, 7), 5, "float64")[1:])
    with implementation:
        before = implementation.compilations()
        implementation.step(batch, 0.1)
        first = implementation.compilations()
        for rate in (0.1, 0.2, 0.3, 0.4):
            implementation.step(batch, rate)
            implementation.parameters()
            implementation.load(implementation.parameters())
        assert before < first == implementation.compilations()
        implementation.step(smaller, 0.1)
        assert first < implementation.compilations()


# --- From Rust ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", implementations("rust_tch", "rust_tensorflow"))
def test_a_crate_refuses_what_does_not_fit_before_anything_changes(name: str) -> None:
    crate: Any = importlib.import_module(find(name).load().__module__)
    network = crate.Network((4, 2), "float64", 1)
    W, b = np.ones((2, 4)), np.ones(2)
    network.load([W], [b])
    for weights, biases in (([W.T.copy()], [b]), ([W], []), ([W], [b[:1]])):
        with pytest.raises(ValueError, match="expected"):
            network.load(weights, biases)
    with pytest.raises(ValueError, match="of 3 examples"):
        network.epoch(crate.Batch(np.zeros((3, 4)), np.zeros((3, 2))), np.array([0, 1, 3]), 2, 0.1)
    with pytest.raises(ValueError, match="expected"):
        network.step(crate.Batch(np.zeros((3, 5)), np.zeros((3, 2))), 0.1)
    np.testing.assert_array_equal(network.parameters()[0][0], W)
    np.testing.assert_array_equal(network.parameters()[1][0], b)


@pytest.mark.parametrize("name", implementations("rust_tensorflow"))
def test_tensorflow_from_rust_says_which_library_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = importlib.import_module(find(name).load().__module__)
    monkeypatch.setattr(module, "LIBRARY", "no_such.so")
    with pytest.raises(RowError, match=r"expected no_such.so in .*tensorflow"):
        module.load_library()


# --- On a GPU ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", implementations("torch", "jax"))
def test_what_is_different_on_a_gpu_is_correct(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands in for the GPU."""
    module = importlib.import_module(f"impls.{name}")
    cls = getattr(module, ENTRIES[f"{name}_cuda"].target.class_name)
    monkeypatch.setattr(cls, "device", "cpu")
    parameters, x, y = draw((20, 8, 4), 27, "float32")
    with cls((20, 8, 4), 10, "float32") as implementation:
        violations = check_workload(implementation, parameters, x, y, 3.0, epoch=True)
    assert [str(violation) for violation in violations] == []


@pytest.mark.parametrize("name", implementations("jax"))
def test_parameters_are_brought_from_the_gpu_at_each_reading(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX keeps what it has brought once, and reading it a second time would say nothing about the first."""
    module: Any = importlib.import_module(find(name).load().__module__)
    monkeypatch.setattr(module.JaxCuda, "device", "cpu")
    network = module.JaxCuda((4, 3), 2)
    with mock.patch.object(module.jnp, "copy", wraps=module.jnp.copy) as copy:
        network.parameters()
        network.parameters()
    assert copy.call_count == 4  # W and b, twice


# --- scikit-learn: its own cost ----------------------------------------------------------------------------------


def cross_entropy(parameters: Parameters, x: Array, y: Array) -> float:
    """Return C = -1/B * sum of y ln a + (1 - y) ln(1 - a), the definition."""
    a = x
    for W, b in zip(*parameters, strict=True):
        a = 1 / (1 + np.exp(-(a @ W.T + b)))
    return float(-np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / len(x))


@pytest.mark.parametrize("sizes", [(6, 5, 4, 3), (4, 2), (5, 4, 1)])
def test_gradient_of_the_cross_entropy_is_its_difference_quotient(sizes: tuple[int, ...]) -> None:
    parameters, x, y = draw(sizes, 7, "float64")
    with find("scikit_learn").load()(sizes, 7) as implementation:
        implementation.load(parameters)
        gradient = implementation.gradients(implementation.prepare(x, y))
    reference = reference_gradients(parameters, x, y, "cross-entropy")
    h = 1e-5
    for p, dp, expected in zip(tensors(parameters), tensors(gradient), tensors(reference), strict=True):
        for index in np.ndindex(p.shape):
            p[index] += h
            above = cross_entropy(parameters, x, y)
            p[index] -= 2 * h
            quotient = (above - cross_entropy(parameters, x, y)) / (2 * h)
            p[index] += h
            assert (dp[index], expected[index]) == pytest.approx((quotient, quotient), abs=1e-9)


def test_scikit_learn_refuses_other_targets() -> None:
    cls = find("scikit_learn").load()
    with cls((5, 4, 3), 2) as implementation, pytest.raises(ValueError, match="0 and 1"):
        implementation.prepare(np.zeros((2, 5)), np.full((2, 3), 0.5))


def test_unknown_cost_is_refused() -> None:
    with pytest.raises(ValueError, match="quadratic or cross-entropy"):
        reference_gradients(*draw((5, 4, 3), 2, "float64"), "hinge")
