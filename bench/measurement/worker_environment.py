"""The environment of timed processes: that of this process, without what would trace, check or debug them."""

import os
from fnmatch import fnmatchcase

from bench.measurement.tracers import kept

REMOVED = {  # NAME=VALUE as a pattern, and what the variable does to a process
    "COVERAGE_PROCESS_*=?*": "coverage traces every line",
    "COV_CORE_*=?*": "coverage traces every line",  # pytest-cov before version 7
    "PYTHONTRACEMALLOC=?*": "every allocation is recorded",
    "PYTHONDEVMODE=?*": "every allocation is checked",
    "PYTHONMALLOC=*debug": "every allocation is checked",  # other values only choose an allocator
    "PYTHONMALLOCSTATS=?*": "prints statistics of the allocator",
    "PYTHONPROFILEIMPORTTIME=?*": "prints how long every import takes",
    "PYTHONVERBOSE=?*": "prints a line for every import",
    "PYTHONPERFSUPPORT=?*": "every call of a Python function is prepared for perf",
    "PYTHON_PERF_JIT_SUPPORT=?*": "every call of a Python function is prepared for perf",
    "PYTHONASYNCIODEBUG=?*": "asyncio checks every callback",
    "PYTHONWARNINGS=?*": "warnings may be errors, or be printed at every call",
    "PYTHONINSPECT=?*": "Python does not end where the program does",
    "PYTHONDUMPREFS*=?*": "a debug build of Python prints all objects",
    "PYTHONTHREADDEBUG=?*": "a debug build of Python prints what threads do",
    "MALLOC_CHECK_=?*": "glibc checks every allocation",
    "MALLOC_PERTURB_=?*": "glibc overwrites what is allocated and freed",
    "MALLOC_TRACE=?*": "glibc writes a line for every allocation",
    "HEAPPROFILE=?*": "tcmalloc records every allocation",
    "HEAPCHECK=?*": "tcmalloc checks every allocation",
    "CPUPROFILE=?*": "gperftools samples the process",
    "LD_DEBUG=?*": "the dynamic linker prints what it does",
    "LD_PROFILE=?*": "the dynamic linker counts calls",
}


def debugging() -> dict[str, str]:
    """Return the variables of this process's environment that would trace, check or debug others, and what they do."""
    return {
        name: effect
        for name, value in sorted(os.environ.items())
        for pattern, effect in REMOVED.items()
        if fnmatchcase(f"{name}={value}", pattern)
    }


def removed() -> dict[str, str]:
    """Return the variables that timed processes do not inherit, and what they do."""
    return {} if kept() else debugging()


def inherited() -> dict[str, str]:
    """Return what timed processes inherit of this process's environment."""
    left_out = removed()
    return {name: value for name, value in os.environ.items() if name not in left_out}
