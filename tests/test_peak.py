"""The peak and the reference rate: what is counted is what was done, and a machine without them is told in words."""

import ctypes
import errno
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from made_up_results import made_up_results

from bench.measurement import peak, rates, timing
from bench.measurement.answers import Refused, Worker
from bench.measurement.candidates import plan
from bench.measurement.peak import Kernel, Peak
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.measurement.rate_workers import PEAK, REFERENCE
from bench.measurement.rates import PreparedRate
from bench.measurement.sampler import Sampler
from bench.measurement.timing import TimedCall
from bench.protocol import PreparedRate as Prepared
from bench.protocol import PrepareRate, Reply
from bench.records import SCHEMA, Rate, Results, Settings, Workload
from bench.report.figures import REFERENCE as REFERENCE_RUNS
from bench.report.plots import draw
from bench.report.table import markdown, summary_lines
from bench.results.files import read
from bench.results.notes import notes_on_peaks, notes_on_rows
from bench.results.summary import summarise
from impls.errors import Unavailable
from impls.interface import Array
from impls.registry import find

SMALL = Workload("small", (6, 5, 4), 3)
DTYPES = ("float64", "float32")
NO_KERNEL = "no multiply-add instructions that are known here: AVX-512, AVX2 with FMA, NEON (on Linux)"


def of_this_machine(dtype: str) -> list[Kernel]:
    try:
        return peak.kernels(dtype)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "features", lambda: frozenset({"sse2"}))


# --- Kernels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("iterations", [1, 2, 1000, 123_457])
def test_every_lane_counts_each_of_its_multiply_adds(dtype: str, iterations: int) -> None:
    for kernel in of_this_machine(dtype):
        counts = kernel.run(iterations)
        assert counts.dtype == dtype
        assert counts.tolist() == [iterations] * kernel.lanes, kernel.name


def test_the_longest_call_is_counted_exactly_in_float32() -> None:
    assert of_this_machine("float32")[-1].run(peak.ITERATIONS).min() == peak.ITERATIONS


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_writes_nothing_but_its_lanes(dtype: str) -> None:
    for kernel in of_this_machine(dtype):
        memory = np.full(kernel.lanes + 64, -1, dtype)
        kernel.function(3, memory[32:].ctypes.data)
        assert memory[:32].tolist() == memory[-32:].tolist() == [-1] * 32
        assert memory[32:-32].tolist() == [3] * kernel.lanes


def test_code_is_there_for_every_instruction_set_and_dtype() -> None:
    assert set(peak.MACHINE_CODE) == {(name, dtype) for name in peak.FEATURES for dtype in DTYPES}
    for code in peak.MACHINE_CODE.values():
        bytes.fromhex(code)
    assert peak.FEATURES.keys() == peak.NAMES.keys() == peak.REGISTER_BYTES.keys() == peak.ACCUMULATORS.keys()


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
@pytest.mark.parametrize("threads", [1, 2])
def test_the_operations_are_twice_the_multiply_adds_that_were_counted(dtype: str, threads: int) -> None:
    for kernel in of_this_machine(dtype):
        counted: list[Array] = []
        with ThreadPoolExecutor(threads) as pool:
            call = Peak(counting(kernel, counted), threads, 1000, pool)
            call()
        assert len(counted) == threads
        assert call.flops == 2 * sum(lanes.sum() for lanes in counted)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_peak_that_did_less_than_it_says_is_found_out(threads: int) -> None:
    kernel = counting(of_this_machine("float64")[0], [], missing=1)
    with ThreadPoolExecutor(threads) as pool, pytest.raises(RuntimeError) as raised:
        Peak(kernel, threads, 1000, pool)()
    assert str(raised.value) == "expected 1000 multiply-adds in each lane, counted 999"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_does_as_much_in_a_process_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, dtype: str, threads: int
) -> None:
    """All samples are of the operations that the first process told, however fast the clock of a later one is."""
    choice = of_this_machine(dtype)[0].name
    told = []
    for speed in (1.0, 1.2):
        monkeypatch.setattr(timing, "perf_counter", lambda speed=speed: time.perf_counter() / speed)
        told.append(rates.prepare("peak", dtype, threads, choice, 0.001).flops)
    assert told[0] == told[1]


# --- Machines without one ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_kernels")
def test_a_processor_without_the_instructions_is_told() -> None:
    with pytest.raises(Unavailable) as raised:
        peak.kernels("float64")
    assert str(raised.value) == NO_KERNEL


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma\n\nprocessor : 1\nflags : fpu\n", {"fpu", "avx2", "fma"}),
        ("Features\t: fp asimd\n", {"fp", "asimd"}),
        ("model name: none\n", set()),
        (None, set()),
    ],
)
def test_features_are_those_that_linux_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, found: set[str]
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    monkeypatch.setattr(peak, "Path", lambda _path: cpuinfo)
    assert peak.features.__wrapped__() == found


def refuse(*_arguments: object) -> int:
    ctypes.set_errno(errno.EACCES)
    return -1


def test_memory_that_must_not_be_executed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under SELinux."""
    monkeypatch.setattr(peak, "features", lambda: frozenset({"avx2", "fma"}))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(mprotect=refuse))
    with pytest.raises(Unavailable) as raised:
        peak.kernels("float64")
    assert str(raised.value) == "the system refuses memory that can be executed: [Errno 13] mprotect"


@pytest.mark.usefixtures("without_kernels")
def test_a_worker_answers_that_there_is_no_peak() -> None:
    worker = Worker(waiting=lambda: False)
    with pytest.raises(Refused) as refused:
        worker.answer(PrepareRate("peak", "float64", 1, "", 0.001))
    assert (refused.value.failure.outcome, refused.value.failure.reason) == ("unavailable", NO_KERNEL)
    reply = worker.answer(PrepareRate("reference", "float64", 1, "64", 0.001))
    assert isinstance(reply, Prepared)
    assert (reply.choice, reply.flops) == ("64", 2 * 64**3)


# --- Runs --------------------------------------------------------------------------------------------------------


def sampled() -> tuple[Results, list[PrepareRate]]:
    """Return the results of a short run, and what the workers of the rates were asked for."""
    asked: list[PrepareRate] = []
    ask = WorkerProcess.ask

    def note(self: WorkerProcess, request: Any, expected: type[Reply]) -> Reply:
        if isinstance(request, PrepareRate):
            asked.append(request)
        return ask(self, request, expected)

    candidates = {"small": plan(SMALL, [find("in_place")])}
    rng = np.random.default_rng(0)
    settings = Settings(generations=2, workload_seconds=0.2, time_out=60.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "ask", note)
        sampler = Sampler(candidates, settings, (rng.random((20, 6)), rng.random((20, 4))), lambda *_: None)
        sampler.run()
    rows = [candidate.row for candidate in candidates["small"]]
    of = summarise(SMALL, rows, sampler.rate("small", PEAK), sampler.rate("small", REFERENCE), 20)
    found = msgspec.structs.replace(made_up_results(), workloads=[of], rows=rows, notes=notes_on_peaks([of]))
    return found, asked


@pytest.mark.slow("runs benchmarks")
def test_both_rates_are_sampled_and_chosen_once() -> None:
    of_this_machine("float64")
    results, asked = sampled()
    (of,) = results.workloads
    assert of.peak is not None
    assert of.no_peak == ""
    assert of.reference is not None
    assert of.peak.what.endswith("multiply-adds in registers")
    assert of.reference.what.startswith("NumPy's product of two ")
    assert [process.generation for process in of.peak.processes] == [0, 1]
    assert all(row.percent_of_peak for row in results.rows)
    assert [(request.kind, request.choice) for request in asked] == [("peak", ""), ("reference", "")]
    assert results.notes == []


def test_a_run_without_a_peak_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = WorkerProcess.ask

    def answer(self: WorkerProcess, request: Any, expected: type[Reply]) -> Reply:
        if isinstance(request, PrepareRate) and request.kind == "peak":
            raise WorkerFailed("unavailable", NO_KERNEL)
        return ask(self, request, expected)

    monkeypatch.setattr(WorkerProcess, "ask", answer)
    results, _ = sampled()
    (of,) = results.workloads
    assert (of.peak, of.no_peak, of.peak_seconds, of.reference_percent) == (None, NO_KERNEL, None, None)
    assert of.reference is not None
    assert [(row.outcome, row.timed, row.percent_of_peak) for row in results.rows] == [("ok", True, None)] * 3
    assert results.notes == [f"no % of peak: {NO_KERNEL}"]
    lines = summary_lines(results, whole=True)
    assert not [line for line in lines if line.startswith("row") and "% of peak" in line]
    assert [line for line in lines if NO_KERNEL in line] == [f"note: no % of peak: {NO_KERNEL}"]
    assert "| peak | – |" in markdown(results)
    assert {path.stem for path in draw(results, tmp_path)} == {"speedups"}


@pytest.mark.slow("runs benchmarks")
def test_a_row_on_another_device_has_no_per_cent_of_the_cpus_peak(tmp_path: Path) -> None:
    of_this_machine("float64")
    results, _ = sampled()
    (of,) = results.workloads
    for row in results.rows:
        row.percent_of_peak = None
    baseline, *_, elsewhere = results.rows
    elsewhere.build = {"device": "GPU $1"}
    assert of.peak is not None
    results.workloads = [summarise(SMALL, results.rows, of.peak, "none", 20)]
    assert baseline.percent_of_peak is not None
    assert elsewhere.percent_of_peak is None
    note = "computes on GPU $1, and not on the CPU whose peak the others are measured against"
    assert f"small, {elsewhere.label}: {note}" in notes_on_rows(results.rows)
    assert {path.stem for path in draw(results, tmp_path)} >= {"speedups", "peak"}


# --- The reference rate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threads", "choice", "tried"),
    [
        (1, "", [256, 384, 512, 768]),
        (2, "", [256, 384, 512, 768, 1024, 1536]),
        (2, "384", [384]),
    ],
)
def test_large_products_are_tried_only_with_several_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, choice: str, tried: list[int]
) -> None:
    sizes: list[int] = []

    def product(size: int, *_arguments: object) -> PreparedRate:
        sizes.append(size)
        seconds = rates.product_flops(size) / (1e9 + size)  # hardly better with the size
        return PreparedRate(str(size), "", rates.product_flops(size), seconds, TimedCall((len, ("",)), threads))

    monkeypatch.setattr(rates, "_product", product)
    assert rates.prepare("reference", "float64", threads, choice, 0.001).choice == str(tried[0])
    assert sizes == tried


# --- What is shown -----------------------------------------------------------------------------------------------


def test_results_without_a_peak_are_shown_with_the_reason(tmp_path: Path) -> None:
    results = made_up_results()
    for of in results.workloads:
        of.peak, of.no_peak = None, NO_KERNEL
    for row in results.rows:
        row.percent_of_peak = None
    results.notes = notes_on_peaks(results.workloads)
    lines = summary_lines(results, whole=True)
    assert "NumPy's product reaches 38.4 Gflop/s" in " ".join(lines)
    assert [line for line in lines if NO_KERNEL in line] == [f"note: no % of peak: {NO_KERNEL}"]
    assert markdown(results).splitlines()[-4:] == [
        "| peak | – |",
        "| reference rate | 16.0 |",
        "",
        f"no % of peak: {NO_KERNEL}",
    ]
    assert {path.stem for path in draw(results, tmp_path)} == {"speedups"}


@pytest.mark.parametrize("path", sorted(REFERENCE_RUNS.rglob("results.json")), ids=lambda path: path.parent.name)
def test_the_reference_results_are_read_and_shown(path: Path) -> None:
    results = read(path)
    assert results.schema == SCHEMA
    assert all(isinstance(of.reference, Rate) for of in results.workloads)
    for of in results.workloads:
        assert (of.peak is None) == bool(of.no_peak)
    assert all(row.first_calls for row in results.rows if row.timed)
    assert "| reference rate | " in markdown(results)
    assert summary_lines(results, whole=True)


def test_a_processor_whose_widest_registers_are_not_known_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "features", lambda: frozenset({"fp", "asimd", "sve"}))
    with pytest.raises(Unavailable, match="SVE"):
        peak.kernels("float64")
