"""The notes on a BLAS that does not use what the processor has, and on variables that tell libraries what to do."""

import os
import subprocess
import sys

import msgspec
import pytest
from made_up_results import row

from bench.measurement import machine
from bench.measurement.tracers import KEEP
from bench.measurement.worker_environment import ENVIRONMENT, THREAD_VARIABLES
from bench.records import Machine, Row, ThreadPool
from bench.results.kernels import KERNELS, note_on_kernels, note_on_variables

NEW = Machine(avx512=True)


def with_pools(*architectures: str | None, api: str = "openblas") -> Row:
    """Return a row in whose process these kernels of a BLAS were."""
    pools = [ThreadPool(f"{api}.so", "blas", api, architecture=name) for name in architectures]
    return msgspec.structs.replace(row("in_place", 1e-3), thread_pools=pools)


def test_older_kernels_are_told_once_with_what_to_do() -> None:
    rows = [with_pools("Haswell", "Zen"), with_pools(), with_pools("Haswell")]
    words = "OpenBLAS uses its kernels for Haswell and Zen although this processor has AVX-512"
    advice = "with OPENBLAS_CORETYPE=SkylakeX in the environment, implementations that call it may be much faster"
    assert note_on_kernels(NEW, rows) == [f"{words}: {advice}"]
    (note,) = note_on_kernels(NEW, [with_pools("SkylakeX", "Haswell")])
    assert note.startswith("OpenBLAS uses its kernels for Haswell although ")
    (note,) = note_on_kernels(NEW, [with_pools("Zen", "Prescott", "Haswell", "Excavator", "Atom")])
    assert "for Atom and Excavator and Haswell and Prescott and Zen although" in note


def test_a_choice_that_was_made_for_the_library_is_named() -> None:
    told = Machine(avx512=True, variables={"OPENBLAS_CORETYPE": "Haswell"})
    (note,) = note_on_kernels(told, [with_pools("Haswell")])
    assert note.endswith("has AVX-512: OPENBLAS_CORETYPE=Haswell in the environment may be why")
    told = Machine(avx512=True, variables={"OPENBLAS_L2_SIZE": "512"})
    assert note_on_kernels(told, [with_pools("Haswell")]) == note_on_kernels(NEW, [with_pools("Haswell")])


def test_what_the_environment_tells_libraries_is_told() -> None:
    assert not note_on_variables(Machine())
    (note,) = note_on_variables(Machine(variables={"OMP_WAIT_POLICY": "active", "OPENBLAS_L2_SIZE": "512"}))
    assert note.endswith("make libraries faster or slower: OMP_WAIT_POLICY=active, OPENBLAS_L2_SIZE=512")


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


@pytest.mark.parametrize("name", ["SkylakeX", "Cooperlake", "SapphireRapids", "Sapphirerapids", "SKYLAKEX"])
def test_kernels_for_avx512_are_right(name: str) -> None:
    assert not note_on_kernels(NEW, [with_pools(name)])


@pytest.mark.parametrize("name", ["Unknown", "Granitebay", "neoversen1", "Zen5", ""])
def test_nothing_is_said_of_kernels_with_an_unknown_name(name: str) -> None:
    assert not note_on_kernels(NEW, [with_pools(name)])


def test_a_build_for_one_older_processor_is_told() -> None:
    """Such a build of OpenBLAS reports its name in capitals."""
    (note,) = note_on_kernels(NEW, [with_pools("HASWELL")])
    assert note.startswith("OpenBLAS uses its kernels for Haswell although")


@pytest.mark.skipif(not machine.facts().avx512, reason="a processor without AVX-512")
@pytest.mark.parametrize("choice", ["SapphireRapids", "Haswell", "Prescott"])
def test_the_names_are_those_of_the_openblas_that_is_installed(choice: str) -> None:
    """Kernels that the library lacks are replaced by the next older ones, whose name it then gives."""
    program = (
        "import numpy, threadpoolctl\n"
        "print(*(p['architecture'] for p in threadpoolctl.threadpool_info() if p['internal_api'] == 'openblas'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OPENBLAS_CORETYPE": choice},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {name for names in KERNELS.values() for name in names}


def test_on_a_processor_without_avx512_older_kernels_are_right() -> None:
    assert not note_on_kernels(Machine(), [with_pools("Haswell")])


@pytest.mark.parametrize(("flags", "has"), [("fpu avx2 avx512f", True), ("fpu avx2", False), ("fpu avx512", False)])
def test_what_the_processor_has_is_read_from_its_flags(flags: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "_read", lambda path: f"model name : Abacus\nflags : {flags}\n" if "cpuinfo" in path else ""
    )
    assert machine.facts().avx512 is has
