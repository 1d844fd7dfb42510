"""Whether libraries do what they do by themselves, and the BLAS uses what the processor has."""

from collections.abc import Iterable

from bench.records import Machine, Row

CHOICE = "OPENBLAS_CORETYPE"  # the variable that chooses the kernels
WITH_AVX512 = ("SkylakeX", "Cooperlake", "Sapphirerapids")  # of OpenBLAS's kernels


def note_on_kernels(machine: Machine, rows: Iterable[Row]) -> list[str]:
    """Return that OpenBLAS runs kernels without AVX-512 on a processor that has it, if it does.

    It picks kernels by a table of processors. One that is not in the table gets older ones, at half the speed or less.
    """
    if not machine.avx512:
        return []
    pools = [pool for row in rows for pool in row.thread_pools if pool.internal_api == "openblas"]
    older = sorted({pool.architecture for pool in pools if pool.architecture} - set(WITH_AVX512))
    if not older:
        return []
    words = (
        f"OpenBLAS uses its kernels for {' and '.join(older)}, and this processor has AVX-512, which they leave idle"
    )
    if machine.variables and CHOICE in machine.variables:
        return [f"{words}: {CHOICE}={machine.variables[CHOICE]} in the environment may be why"]
    return [f"{words}: with {CHOICE}=SkylakeX in the environment, rows that call it may be much faster"]


def note_on_variables(machine: Machine) -> list[str]:
    """Return what the environment tells libraries to do, if anything."""
    if not machine.variables:
        return []
    told = ", ".join(f"{name}={value}" for name, value in machine.variables.items())
    return [f"libraries may be faster or slower than by themselves: the environment has {told}"]
