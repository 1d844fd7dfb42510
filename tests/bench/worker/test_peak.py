"""The peak and the reference rate: what is counted is what was done, and a machine without them is told in words."""

import ctypes
import errno
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from made_up_results import made_up_results
from sampling import by_label, sample, summary

from bench.analysis.notes import NO_PEAK, notes_on_missing_rates
from bench.output.plots.run_plots import draw
from bench.records import Outcome
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.worker import rates
from bench.worker.protocol import PrepareRate, Reply
from bench.worker.rates import Kernel, Peak, TimedRate
from bench.worker.timing import TimedCall
from impls.interface import Array
from impls.support.errors import Unavailable

DTYPES = ("float64", "float32")
NO_KERNEL = "no multiply-add instructions that are known here: AVX-512, AVX2 with FMA, NEON (on Linux)"


def of_this_machine(dtype: str) -> list[Kernel]:
    try:
        return rates.kernels(dtype)
    except Unavailable as reason:
        pytest.skip(str(reason))


# --- Kernels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("iterations", [1, 1000, rates.ITERATIONS])
def test_every_lane_counts_each_of_its_multiply_adds(dtype: str, iterations: int) -> None:
    for kernel in of_this_machine(dtype):
        counts = kernel.run(iterations)
        assert counts.dtype == dtype
        assert counts.tolist() == [iterations] * kernel.lanes, kernel.name


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_writes_nothing_but_its_lanes(dtype: str) -> None:
    for kernel in of_this_machine(dtype):
        memory = np.full(kernel.lanes + 64, -1, dtype)
        kernel.function(3, memory[32:].ctypes.data)
        assert memory[:32].tolist() == memory[-32:].tolist() == [-1] * 32
        assert memory[32:-32].tolist() == [3] * kernel.lanes


# --- The peak ----------------------------------------------------------------------------------------------------


def counting(kernel: Kernel, counted: list[Array], missing: int = 0) -> Kernel:
    """Return a kernel that notes what its lanes counted, after taking away from the last one."""

    def function(iterations: int, address: int) -> None:
        kernel.function(iterations, address)
        kind = ctypes.c_double if kernel.dtype == "float64" else ctypes.c_float
        lanes = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(kind)), (kernel.lanes,))
        lanes[-1] -= missing
        counted.append(lanes.copy())

    return replace(kernel, function=function)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_operations_are_twice_the_multiply_adds_that_were_counted(dtype: str) -> None:
    for kernel in of_this_machine(dtype):
        counted: list[Array] = []
        with ThreadPoolExecutor(2) as pool:
            call = Peak(counting(kernel, counted), 2, 1000, pool)
            call()
        assert len(counted) == 2
        assert call.flops == 2 * sum(lanes.sum() for lanes in counted)


def test_a_peak_that_did_less_than_it_says_is_found_out() -> None:
    kernel = counting(of_this_machine("float64")[0], [], missing=1)
    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError) as raised:
        Peak(kernel, 2, 1000, pool)()
    assert str(raised.value) == "expected 1000 multiply-adds in each lane, counted 999"


# --- Machines without one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma\n\nprocessor : 1\nflags : fpu\n", {"fpu", "avx2", "fma"}),
        ("Features\t: fp asimd\n", {"fp", "asimd"}),
        (None, set()),
    ],
)
def test_features_are_those_that_linux_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, found: set[str]
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    monkeypatch.setattr(rates, "Path", lambda _path: cpuinfo)
    assert rates.features.__wrapped__() == found


def refuse(*_arguments: object) -> int:
    ctypes.set_errno(errno.EACCES)
    return -1


def test_memory_that_must_not_be_executed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under SELinux."""
    monkeypatch.setattr(rates, "features", lambda: frozenset({"avx2", "fma"}))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(mprotect=refuse))
    with pytest.raises(Unavailable) as raised:
        rates.kernels("float64")
    assert str(raised.value) == "the system refuses memory that can be executed: [Errno 13] mprotect"


# --- Runs --------------------------------------------------------------------------------------------------------


def test_a_run_without_a_peak_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = WorkerProcess.ask

    def answer(self: WorkerProcess, request: Any, expected: type[Reply]) -> Reply:
        if isinstance(request, PrepareRate) and request.kind == "peak":
            raise WorkerFailed(Outcome.UNAVAILABLE, NO_KERNEL)
        return ask(self, request, expected)

    monkeypatch.setattr(WorkerProcess, "ask", answer)
    sampler = sample(["in_place"], generations=2, workload_seconds=0.2)
    result, rows = summary(sampler), list(by_label(sampler).values())
    notes = notes_on_missing_rates(NO_PEAK, {result.workload.name: result.peak or result.no_peak})
    results = msgspec.structs.replace(made_up_results(), workloads=[result], rows=rows, notes=notes)
    assert (result.peak, result.no_peak, result.peak_seconds, result.reference_percent) == (None, NO_KERNEL, None, None)
    assert result.reference is not None
    assert [(row.outcome, row.timed, row.percent_of_peak) for row in rows] == [("ok", True, None)] * 3
    assert list(map(str, notes)) == [f"no % of peak: {NO_KERNEL}"]
    assert {path.stem for path in draw(results, tmp_path)} == {"speedups"}


# --- The reference rate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "tried"), [(1, [256, 384, 512, 768]), (2, [256, 384, 512, 768, 1024, 1536])])
def test_large_products_are_tried_only_with_several_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, tried: list[int]
) -> None:
    sizes: list[int] = []

    def product(size: int, *_arguments: object) -> TimedRate:
        sizes.append(size)
        flops = 2 * size**3
        return TimedRate(str(size), flops, flops / (1e9 + size), TimedCall((len, ("",)), threads))  # hardly better

    monkeypatch.setattr(rates, "_product", product)
    assert rates.prepare("reference", "float64", threads, 0.001).what == str(tried[0])
    assert sizes == tried


def test_a_processor_whose_widest_registers_are_not_known_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "features", lambda: frozenset({"fp", "asimd", "sve"}))
    with pytest.raises(Unavailable, match="SVE"):
        rates.kernels("float64")
