"""Whether the BLAS uses what the processor has, and whether the environment changes how libraries compute."""

from collections.abc import Iterable

from bench.records import Machine, Row

CHOICE = "OPENBLAS_CORETYPE"  # the variable that chooses the kernels
KERNELS = {  # of OpenBLAS for x86, by instruction set: the names in its driver/others/dynamic.c
    "SSE": ("Katmai", "Coppermine", "Athlon"),
    "SSE2": ("Northwood", "Banias", "Opteron"),
    "SSE3": ("Prescott", "Opteron_SSE3", "Barcelona", "Nano"),
    "SSSE3": ("Core2", "Atom", "Bobcat"),
    "SSE4": ("Penryn", "Dunnington", "Nehalem"),
    "AVX": ("Sandybridge", "Bulldozer", "Piledriver", "Steamroller", "Excavator"),
    "AVX2": ("Haswell", "Zen"),
    "AVX-512": ("SkylakeX", "Cooperlake", "SapphireRapids"),
}
WITHOUT_AVX512 = {  # by their names in small letters: a build for one processor alone writes its name in capitals
    name.lower(): name for instructions, names in KERNELS.items() if instructions != "AVX-512" for name in names
}


def note_on_kernels(machine: Machine, rows: Iterable[Row]) -> list[str]:
    """Return that OpenBLAS runs kernels without AVX-512 on a processor that has it, if it does.

    It picks kernels by a table of processors. One that is not in the table gets older ones, at half the speed or less.
    Of kernels with a name that is not known here nothing is said: a later OpenBLAS has more of them.
    """
    if not machine.avx512:
        return []
    pools = [pool for row in rows for pool in row.thread_pools if pool.internal_api == "openblas"]
    used = {(pool.architecture or "").lower() for pool in pools}
    older = sorted(WITHOUT_AVX512[name] for name in used & WITHOUT_AVX512.keys())
    if not older:
        return []
    words = f"OpenBLAS uses its kernels for {' and '.join(older)} although this processor has AVX-512"
    if machine.variables and CHOICE in machine.variables:
        return [f"{words}: {CHOICE}={machine.variables[CHOICE]} in the environment may be why"]
    return [f"{words}: with {CHOICE}=SkylakeX in the environment, implementations that call it may be much faster"]


def note_on_variables(machine: Machine) -> list[str]:
    """Return what the environment tells libraries to do, if anything."""
    if not machine.variables:
        return []
    variables = ", ".join(f"{name}={value}" for name, value in machine.variables.items())
    return [f"these environment variables may make libraries faster or slower: {variables}"]
