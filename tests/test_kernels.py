"""The notes on a BLAS that does not use what the processor has, and on variables that tell libraries what to do."""

import msgspec
import pytest
from made_up_results import row

from bench.measurement import machine
from bench.measurement.process import ENVIRONMENT, THREAD_VARIABLES
from bench.measurement.tracers import KEEP
from bench.records import Machine, Row, ThreadPool
from bench.results.kernels import note_on_kernels, note_on_variables

NEW = Machine(avx512=True)


def with_pools(*architectures: str | None, api: str = "openblas") -> Row:
    """Return a row in whose process these kernels of a BLAS were."""
    pools = [ThreadPool(f"{api}.so", "blas", api, architecture=name) for name in architectures]
    return msgspec.structs.replace(row("in_place", 1e-3), thread_pools=pools)


def test_older_kernels_are_told_once_with_what_to_do() -> None:
    rows = [with_pools("Haswell", "Zen"), with_pools(), with_pools("Haswell")]
    words = "OpenBLAS uses its kernels for Haswell and Zen, and this processor has AVX-512, which they leave idle"
    advice = "with OPENBLAS_CORETYPE=SkylakeX in the environment, rows that call it may be much faster"
    assert note_on_kernels(NEW, rows) == [f"{words}: {advice}"]
    (note,) = note_on_kernels(NEW, [with_pools("SkylakeX", "Haswell")])
    assert note.startswith("OpenBLAS uses its kernels for Haswell, and")
    (note,) = note_on_kernels(NEW, [with_pools("Zen", "Prescott", "Haswell", "Excavator", "Atom")])
    assert "for Atom and Excavator and Haswell and Prescott and Zen, and" in note


def test_a_choice_that_was_made_for_the_library_is_named() -> None:
    told = Machine(avx512=True, variables={"OPENBLAS_CORETYPE": "Haswell"})
    (note,) = note_on_kernels(told, [with_pools("Haswell")])
    assert note.endswith("they leave idle: OPENBLAS_CORETYPE=Haswell in the environment may be why")
    told = Machine(avx512=True, variables={"OPENBLAS_L2_SIZE": "512"})
    assert note_on_kernels(told, [with_pools("Haswell")]) == note_on_kernels(NEW, [with_pools("Haswell")])


def test_what_the_environment_tells_libraries_is_told() -> None:
    assert not note_on_variables(Machine())
    (note,) = note_on_variables(Machine(variables={"OMP_WAIT_POLICY": "active", "OPENBLAS_L2_SIZE": "512"}))
    assert note.endswith("by themselves: the environment has OMP_WAIT_POLICY=active, OPENBLAS_L2_SIZE=512")


def test_variables_that_steer_libraries_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEEP, raising=False)
    for name in machine.steering_variables():
        monkeypatch.delenv(name)
    for name in (*THREAD_VARIABLES, *ENVIRONMENT, "PATH_TO_MKL", "BACKPROP_MNIST"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MALLOC_PERTURB_", "1")  # which workers do not inherit
    monkeypatch.setenv("MKL_DYNAMIC", "")
    assert machine.steering_variables() == {}
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("MKL_CBWR", "\x1b[31mAVX2\n" + 1000 * "x")
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "AVX512F")
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    found = machine.facts().variables
    assert found is not None
    assert list(found) == ["MKL_CBWR", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "PYTHONMALLOC"]
    assert found["OPENBLAS_CORETYPE"] == "Haswell"
    assert len(found["MKL_CBWR"]) == 100
    assert found["MKL_CBWR"].isprintable()


@pytest.mark.parametrize("rows", [[], [with_pools()], [with_pools(None)], [with_pools("Haswell", api="mkl")]])
def test_without_older_kernels_nothing_is_told(rows: list[Row]) -> None:
    assert not note_on_kernels(NEW, rows)


@pytest.mark.parametrize("name", ["SkylakeX", "Cooperlake", "Sapphirerapids"])
def test_kernels_for_avx512_are_right(name: str) -> None:
    assert not note_on_kernels(NEW, [with_pools(name)])


def test_on_a_processor_without_avx512_older_kernels_are_right() -> None:
    assert not note_on_kernels(Machine(), [with_pools("Haswell")])


@pytest.mark.parametrize(("flags", "has"), [("fpu avx2 avx512f", True), ("fpu avx2", False), ("fpu avx512", False)])
def test_what_the_processor_has_is_read_from_its_flags(flags: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "_read", lambda path: f"model name : Abacus\nflags : {flags}\n" if "cpuinfo" in path else ""
    )
    assert machine.facts().avx512 is has
