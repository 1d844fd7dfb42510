"""What has to be the same for two runs to be compared, and what of the rest is said."""

from typing import Any

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.records import Results, ThreadPool, Workload
from bench.results.fingerprint import machine_differences, remarks, row_difference, workload_difference


def on(**machine: Any) -> Results:
    """Return a run on another machine."""
    results = made_up_results()
    results.machine = replace(results.machine, **machine)
    return results


def test_the_same_run_differs_in_nothing() -> None:
    assert machine_differences(on(), on()) == remarks(on(), on()) == []
    assert workload_difference(workload_result(BOOK), workload_result(BOOK)) == ""
    assert row_difference(row("in_place", 1.0), row("in_place", 2.0)) == ""


def test_a_machine_is_its_processor_cpus_blas_and_data() -> None:
    new = on(cpu_model="Abacus 4000", usable_cpus=4, cpu_quota=1.5, numpy_blas="")
    new.data = "mnist"
    assert machine_differences(on(), new) == [
        "processor: Abacus 3000 before, Abacus 4000 now",
        "usable CPUs: 2 before, 4 now",
        "CPU quota: none before, 1.5 now",
        "NumPy's BLAS: OpenBLAS 0.3.31 before, unknown now",
        "data: digits before, mnist now",
    ]


@pytest.mark.parametrize(
    ("workload", "examples", "words"),
    [
        (replace(BOOK, batch_size=20), 10, "784-30-10, batch 20, float64, 1 thread, step, 10 examples now"),
        (BOOK, 20, "784-30-10, batch 10, float64, 1 thread, step, 20 examples now"),
        (replace(BOOK, baseline="batched_2d"), 10, "over per_example before, over batched_2d now"),
    ],
)
def test_a_workload_is_its_description_its_examples_and_its_baseline(
    workload: Workload, examples: int, words: str
) -> None:
    new = workload_result(workload)
    new.examples = examples
    assert workload_difference(workload_result(BOOK), new).endswith(words)


def test_a_row_is_its_threads_and_its_blas() -> None:
    old = row("in_place", 1.0)
    assert row_difference(old, row("in_place", 1.0, threads=2)) == "1 threads before, 2 now"
    pool = old.thread_pools[0]
    mkl = row("in_place", 1.0, thread_pools=[replace(pool, internal_api="mkl", version=None)])
    assert row_difference(old, mkl) == "openblas 0.3.31 before, mkl now"


def test_a_row_without_a_blas_is_comparable_with_one_that_has_one() -> None:
    """A run that was cut short may not have asked for it; a pool of OpenMP is none."""
    pool = ThreadPool("libgomp.so", "openmp", "openmp", "5.0", num_threads=1)
    without = row("in_place", 1.0, thread_pools=[pool])
    assert row_difference(without, row("in_place", 1.0)) == row_difference(row("in_place", 1.0), without) == ""


def test_versions_that_differ_are_remarks_in_the_order_of_their_names() -> None:
    old, new = on(versions={"numpy": "2.4.6", "numba": "0.61"}), on(versions={"numpy": "2.5.0", "jax": "0.6"})
    assert remarks(old, new) == [
        "jax missing before, 0.6 now",
        "numba 0.61 before, missing now",
        "numpy 2.4.6 before, 2.5.0 now",
    ]
    assert remarks(on(python=""), on(python="3.13.0", versions={}, variables={})) == [
        "Python missing before, 3.13.0 now",
        *(f"{name} {version} before, missing now" for name, version in sorted(on().machine.versions.items())),
    ]


def with_peaks(*rates: float | None) -> Results:
    """Return a run with a workload for each of these rates."""
    results = made_up_results()
    results.workloads = [workload_result(replace(BOOK, name=f"w{n}")) for n in range(len(rates))]
    for of, rate in zip(results.workloads, rates, strict=True):
        assert of.peak is not None
        of.peak.flops_per_second = rate
    return results


def test_another_peak_is_a_remark_on_each_workload() -> None:
    assert remarks(with_peaks(1e9, 1e9, 1e9, 1e9), with_peaks(1.049e9, 1.052e9, 0.951e9, 0.5e9)) == [
        "w1: the peak is 1.05 times what it was: another clock rate",
        "w3: the peak is 0.50 times what it was: another clock rate",
    ]


def test_a_peak_that_one_of_the_runs_lacks_is_no_remark() -> None:
    for old, new in ((None, 1e9), (1e9, None)):
        assert remarks(with_peaks(old), with_peaks(new)) == []
    without = with_peaks(1e9)
    without.workloads[0].peak = None
    assert remarks(with_peaks(1e9), without) == remarks(without, with_peaks(1e9)) == []
    assert remarks(with_peaks(1e9), with_peaks(1e9, 2e9)) == []  # nor is one of another workload


def test_variables_that_steer_libraries_are_remarked_on_where_both_runs_recorded_them() -> None:
    steered = on(variables={"OMP_WAIT_POLICY": "active", "OPENBLAS_CORETYPE": "Haswell"})
    free = on(variables={"OMP_WAIT_POLICY": "active"})
    assert remarks(steered, free) == ["OPENBLAS_CORETYPE Haswell before, not set now"]
    assert remarks(free, steered) == ["OPENBLAS_CORETYPE not set before, Haswell now"]
    assert remarks(steered, steered) == []
    many = {f"OMP_{letter}": "1" for letter in "QWERTZUIOP"}
    assert [words[4] for words in remarks(on(variables=many), on(variables={}))] == sorted("QWERTZUIOP")
    assert remarks(on(python="3.11.7", variables={}), on(python="", variables={"OMP_X": ""})) == [
        "Python 3.11.7 before, missing now"
    ]
    assert remarks(on(python="3.11.7", variables={}), on(python="3.12.0", variables={"OMP_X": "1"})) == [
        "Python 3.11.7 before, 3.12.0 now",
        "OMP_X not set before, 1 now",
    ]
    assert remarks(on(variables=None), steered) == remarks(steered, on(variables=None)) == []
