"""Whether the BLAS uses what the processor has."""

from collections.abc import Iterable

from bench.records import Machine, Row

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
    return [f"{words}: with OPENBLAS_CORETYPE=SkylakeX in the environment, rows that call it may be much faster"]
