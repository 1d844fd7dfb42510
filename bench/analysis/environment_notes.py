"""Notes on what surrounds the code that is timed: the BLAS's kernels, variables that steer libraries, tracers."""

from collections.abc import Iterable, Mapping

from bench.records import Machine, Note, Row

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


def note_on_kernels(machine: Machine, rows: Iterable[Row]) -> list[Note]:
    """Return that OpenBLAS runs kernels without AVX-512 on a processor that has it, if it does.

    It picks kernels by a table of processors. One that is not in the table gets older ones, at half the speed or less.
    Of kernels with a name that is not known here nothing is said: a later OpenBLAS has more of them.
    """
    pools = [pool for row in rows for pool in row.thread_pools if pool.internal_api == "openblas"]
    used = {(pool.architecture or "").lower() for pool in pools}
    older = sorted(WITHOUT_AVX512[name] for name in used & WITHOUT_AVX512.keys())
    if not older or not machine.avx512:
        return []
    chosen = (machine.variables or {}).get(CHOICE)
    if chosen is None:
        advice = f"with {CHOICE}=SkylakeX in the environment, implementations that call it may be much faster"
    else:
        advice = f"{CHOICE}={chosen} in the environment may be why"
    return [Note(f"OpenBLAS uses its kernels for {' and '.join(older)} although this processor has AVX-512: {advice}")]


def note_on_variables(machine: Machine) -> list[Note]:
    """Return what the environment tells libraries to do, if anything."""
    if not machine.variables:
        return []
    variables = ", ".join(f"{name}={value}" for name, value in machine.variables.items())
    return [Note(f"these environment variables may make libraries faster or slower: {variables}")]


def note_on_environment(debugging: Mapping[str, str], keep: str, *, kept: bool) -> list[Note]:
    """Return which variables workers were started without, or with where the variable `keep` is set.

    `debugging` are the variables of the environment that trace, check or debug processes, with what each does.
    """
    if not debugging:
        return []
    variables = ", ".join(f"{name} ({effect})" for name, effect in debugging.items())
    if kept:
        return [Note(f"{keep}=1: workers were started with {variables}; their times may be much longer")]
    return [Note(f"workers were started without {variables}; {keep}=1 would keep what was removed")]


def notes_on_tracing(rows: Iterable[Row]) -> list[Note]:
    """Return what traced or checked the processes of results, and whether it was switched off, each with the labels."""
    labels: dict[str, list[str]] = {}
    started = [row for row in rows if row.processes]
    for row in started:
        for words in row.tracing:
            labels.setdefault(words, []).append(row.label)
    return [
        Note(f"{'all rows' if len(having) == len(started) else ', '.join(dict.fromkeys(having))}: {words}")
        for words, having in labels.items()
    ]
