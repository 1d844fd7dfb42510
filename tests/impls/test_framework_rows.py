"""The frameworks' rows: the contract, their threads, when they compile, and that they wait for their results.

Rows that are not installed, or need a GPU that is not there, are skipped with their reason; on a machine with a GPU,
`pytest tests/impls/test_framework_rows.py -k cuda` runs all of it for the rows on the GPU.
"""

import importlib
import importlib.util
import subprocess
import sys
from typing import Any
from unittest import mock

import numpy as np
import pytest
from networks import draw

from bench.runner.audit import work_pending
from bench.runner.worker_environment import THREAD_VARIABLES
from bench.system.cpus import cores
from bench.worker.timing import TimedCall
from impls.conformance.kit import check, check_workload
from impls.conformance.reference import reference_gradients
from impls.interface import Array, Implementation, Parameters
from impls.registry import ENTRIES, Entry, find
from impls.support.errors import RowError
from impls.support.loading import Target
from impls.support.needs import Needs, no_compiler

BOOK, LARGE = (784, 30, 10), (784, 512, 512, 10)


def rows(*names: str) -> list[Any]:
    """Return rows as pytest parameters, skipped with the reason where they are unavailable."""
    reasons = {name: ENTRIES[name].unavailable() for name in names}
    return [
        pytest.param(name, marks=pytest.mark.skipif(reason is not None, reason=f"{name} {reason}"))
        for name, reason in reasons.items()
    ]


TORCH = ("torch", "torch_compiled", "torch_ddp", "torch_cuda")
COMPILED = ("torch_compiled", "jax", "jax_cuda")
ALL = (*TORCH, "rust_tch", "jax", "jax_cuda", "tensorflow", "rust_tensorflow", "scikit_learn")


def test_every_framework_has_its_tests_here() -> None:
    assert {entry.name for entry in ENTRIES.values() if entry.framework} == set(ALL)


def ready(name: str, sizes: tuple[int, ...], examples: int) -> tuple[Implementation, Any]:
    """Return a row with parameters loaded, and a mini-batch."""
    parameters, x, y = draw(sizes, examples, "float64")
    implementation = find(name).load()(sizes, examples)
    implementation.load(parameters)
    return implementation, implementation.prepare(x, y)


# --- All rows ----------------------------------------------------------------------------------------------------


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("name", rows(*ALL))
def test_row_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number of threads is enough: the others differ in how many the libraries are told to take.

    torch_compiled runs its traced graph as it is here: its compiler would take minutes for all networks of the kit.
    """
    cls = find(name).load()
    if name == "torch_compiled":
        monkeypatch.setattr(cls, "backend", "eager")
    assert [str(violation) for violation in check(cls, threads=(1,))] == []


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", rows(*ALL))
def test_row_is_right_on_the_workloads(name: str, dtype: str) -> None:
    for sizes, batch_size, examples in ((BOOK, 10, 10), (BOOK, 10, 27), ((784, 100, 100, 100, 10), 64, 64)):
        parameters, x, y = draw(sizes, examples, dtype)
        with find(name).load()(sizes, batch_size, dtype) as implementation:
            found = check_workload(implementation, parameters, x, y, 3.0, epoch=examples > batch_size)
        assert [str(violation) for violation in found] == []


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("name", rows(*ALL))
@pytest.mark.parametrize("threads", [1, 2])
def test_row_uses_no_more_cores_than_threads(name: str, threads: int) -> None:
    """In a process of its own: most libraries make their threads once."""
    if name.endswith("cuda"):
        pytest.skip("its threads are the GPU's")
    if cores() <= threads:
        pytest.skip(f"{cores()} cores: one more than {threads} would have to be there to be misused")
    script = f"""
import sys, time
sys.path[:0] = ["tests/impls", "tests/support"]
from impls.registry import find
from test_framework_rows import LARGE, draw
parameters, x, y = draw(LARGE, 256, "float64")
row = find({name!r}).load()(LARGE, 256, "float64", {threads})
row.load(parameters)
batch = row.prepare(x, y)
for _ in range(3):
    row.step(batch, 0.1)
cpu, start = time.process_time(), time.perf_counter()
while time.perf_counter() - start < 1.0:
    row.step(batch, 0.1)
print((time.process_time() - cpu) / (time.perf_counter() - start))
"""
    used = subprocess.run(
        ["env", *(f"{name}={threads}" for name in THREAD_VARIABLES), sys.executable, "-c", script],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert float(used) < threads + 0.25


@pytest.mark.parametrize("name", rows(*ALL))
def test_result_is_there_when_a_step_returns(name: str) -> None:
    implementation, batch = ready(name, LARGE, 256)
    with implementation:
        timed = TimedCall((implementation.step, (batch, 0.1)), 1, read=implementation.parameters)
        timed.sample()
        taken = []
        for turn in range(5):
            timed.arrange(turn)
            taken.append(timed.sample())
        assert work_pending(taken) == ""


@pytest.mark.parametrize("name", rows(*ALL))
def test_build_tells_versions(name: str) -> None:
    build = find(name).load().build()
    assert build
    assert all(isinstance(value, str) and value for value in build.values())


# --- Compilation -------------------------------------------------------------------------------------------------


@pytest.mark.slow("imports and compiles frameworks")
@pytest.mark.parametrize("name", rows(*COMPILED))
def test_compilations_are_counted_and_end(name: str) -> None:
    implementation, batch = ready(name, (9, 8, 7), 6)
    other = implementation.prepare(*draw((9, 8, 7), 5, "float64")[1:])
    with implementation:
        before = implementation.compilations()
        implementation.step(batch, 0.1)
        first = implementation.compilations()
        for rate in (0.1, 0.2, 0.3, 0.4):
            implementation.step(batch, rate)
            implementation.parameters()
            implementation.load(implementation.parameters())
        assert before < first == implementation.compilations()
        implementation.step(other, 0.1)
        assert first < implementation.compilations()


# --- From Rust ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rows("rust_tch", "rust_tensorflow"))
def test_a_crate_refuses_what_does_not_fit_before_anything_changes(name: str) -> None:
    crate: Any = importlib.import_module(find(name).load().__module__)
    network = crate.Network((4, 2), "float64", 1)
    W, b = np.ones((2, 4)), np.ones(2)
    network.load([W], [b])
    with pytest.raises(ValueError, match="rows"):
        crate.Batch(np.zeros((3, 4)), np.zeros((2, 2)))
    for weights, biases in (([W.T.copy()], [b]), ([W], []), ([W], [b[:1]])):
        with pytest.raises(ValueError, match="expected"):
            network.load(weights, biases)
    batch = crate.Batch(np.zeros((3, 4)), np.zeros((3, 2)))
    for order in ([0, 1, 3], [0, 1, -1]):
        with pytest.raises(ValueError, match="of 3 examples"):
            network.epoch(batch, np.array(order), 2, 0.1)
    for other in (crate.Batch(np.zeros((3, 5)), np.zeros((3, 2))), crate.Batch(*np.zeros((2, 3, 4), np.float32))):
        with pytest.raises(ValueError, match="expected"):
            network.step(other, 0.1)
    (found_W,), (found_b,) = network.parameters()
    np.testing.assert_array_equal(found_W, W)
    np.testing.assert_array_equal(found_b, b)


@pytest.mark.parametrize("name", rows("rust_tensorflow"))
def test_tensorflow_from_rust_says_which_library_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row: Any = importlib.import_module(find(name).load().__module__)
    monkeypatch.setattr(row, "LIBRARY", "no_such.so")
    with pytest.raises(RowError, match=r"expected no_such.so in .*tensorflow"):
        row.load_library()


# --- What the machine lacks --------------------------------------------------------------------------------------


def test_row_says_what_the_machine_lacks() -> None:
    def abacus(*modules: str, lack: str | None) -> Entry:
        return Entry(
            "abacus", Target("nowhere", "Abacus"), "sums", Needs(modules, lambda: "pip install it", lambda: lack)
        )

    assert abacus(lack="beads").unavailable() == "needs beads"
    assert abacus(lack=None).unavailable() is None
    assert abacus("no_such_module", lack="beads").unavailable() == "needs no_such_module: pip install it"


@pytest.mark.parametrize(
    ("name", "cls"),
    [pytest.param(*of.values, "TorchCuda", marks=of.marks) for of in rows("torch")]
    + [pytest.param(*of.values, "JaxCuda", marks=of.marks) for of in rows("jax")],
)
def test_what_the_rows_on_a_gpu_do_otherwise_is_right(name: str, cls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands in for the GPU."""
    row = getattr(importlib.import_module(find(name).load().__module__), cls)
    monkeypatch.setattr(row, "device", "cpu")
    parameters, x, y = draw((20, 8, 4), 27, "float32")
    with row((20, 8, 4), 10, "float32") as implementation:
        found = check_workload(implementation, parameters, x, y, 3.0, epoch=True)
    assert [str(violation) for violation in found] == []


@pytest.mark.parametrize("name", rows("jax"))
def test_parameters_are_brought_from_the_gpu_at_each_reading(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX keeps what it has brought once, and reading it a second time would say nothing about the first."""
    row: Any = importlib.import_module(find(name).load().__module__)
    monkeypatch.setattr(row.JaxCuda, "device", "cpu")
    network = row.JaxCuda((4, 3), 2)
    with mock.patch.object(row.jnp, "copy", wraps=row.jnp.copy) as copy:
        network.parameters()
        network.parameters()
    assert copy.call_count == 4  # W and b, twice


def test_compiler_is_looked_for_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "a C++ compiler" in (no_compiler() or "")
    (tmp_path / "clang++").touch(mode=0o755)
    assert no_compiler() is None


# --- scikit-learn: its own cost ----------------------------------------------------------------------------------


def cross_entropy(parameters: Parameters, x: Array, y: Array) -> float:
    """Return C = -1/B * sum of y ln a + (1 - y) ln(1 - a), the definition."""
    a = outputs(parameters, x)
    return float(-np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / len(x))


def outputs(parameters: Parameters, x: Array) -> Array:
    a = x
    for W, b in zip(*parameters, strict=True):
        a = 1 / (1 + np.exp(-(a @ W.T + b)))
    return a


@pytest.mark.parametrize("sizes", [(5, 4, 3), (6, 5, 4, 3), (4, 2), (5, 4, 1)])
def test_gradient_of_the_cross_entropy_is_its_difference_quotient(sizes: tuple[int, ...]) -> None:
    parameters, x, _ = draw(sizes, 7, "float64")
    y = np.random.default_rng(1).integers(2, size=(7, sizes[-1])).astype(float)
    with find("scikit_learn").load()(sizes, 7) as implementation:
        implementation.load(parameters)
        found = implementation.gradients(implementation.prepare(x, y))
    oracle = reference_gradients(parameters, x, y, "cross-entropy")
    h = 1e-5
    for kind in range(2):
        for layer, p in enumerate(parameters[kind]):
            for index in np.ndindex(p.shape):
                kept = p[index]
                p[index] = kept + h
                above = cross_entropy(parameters, x, y)
                p[index] = kept - h
                quotient = (above - cross_entropy(parameters, x, y)) / (2 * h)
                p[index] = kept
                assert found[kind][layer][index] == pytest.approx(quotient, abs=1e-9)
                assert oracle[kind][layer][index] == pytest.approx(quotient, abs=1e-9)


def test_scikit_learn_refuses_other_targets() -> None:
    row = find("scikit_learn").load()
    with row((5, 4, 3), 2) as implementation, pytest.raises(ValueError, match="0 and 1"):
        implementation.prepare(np.zeros((2, 5)), np.full((2, 3), 0.5))


def test_unknown_cost_is_refused() -> None:
    with pytest.raises(ValueError, match="quadratic or cross-entropy"):
        reference_gradients(*draw((5, 4, 3), 2, "float64"), "hinge")
