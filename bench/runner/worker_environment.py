"""What timed processes are given: an environment without what would trace, check or debug them, and files.

Temporary files are in a folder that goes with the run, caches where they outlive it.
"""

import os
import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from bench.system.files import folder_of_workers, temporary_folder
from bench.system.processes import PARENT
from bench.system.tracers import kept
from impls import ROOT
from impls.interface import Array

INDUCTOR_CACHE, NUMBA_CACHE = "TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR"
THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
ENVIRONMENT = {
    # Idle threads spin before they sleep, in every library, as its users have it. Only how long they go on after a
    # sample is shortened to some 2 ms, much longer than any pause within one: the next worker has to wait.
    "KMP_BLOCKTIME": "2",  # ms, Intel's OpenMP, instead of 200
    "OPENBLAS_THREAD_TIMEOUT": "22",  # 2^22 clock cycles, OpenBLAS, instead of 2^26
    # glibc gives freed memory back to the system or keeps it, by rules that depend on the heap's layout: the same
    # loop had no page faults in one process and 44 a step in the next, 20 % apart. In workers it always keeps it.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
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
    "MALLOC_CHECK_=?*": "glibc checks every allocation",
    "MALLOC_PERTURB_=?*": "glibc overwrites what is allocated and freed",
    "MALLOC_TRACE=?*": "glibc writes a line for every allocation",
    "HEAPPROFILE=?*": "tcmalloc records every allocation",
    "HEAPCHECK=?*": "tcmalloc checks every allocation",
    "CPUPROFILE=?*": "gperftools samples the process",
    "LD_DEBUG=?*": "the dynamic linker prints what it does",
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
    not_inherited = removed()
    return {name: value for name, value in os.environ.items() if name not in not_inherited}


def environment(threads: int, tree: str = "", *, launched: bool = False) -> dict[str, str]:
    """Return the environment of a worker whose libraries may use so many threads. Raises UserError as `folders`.

    `tree` is a folder with another `impls` than today's, if the implementation is to be loaded from there.
    """
    path = os.pathsep.join(filter(None, (tree, str(ROOT), os.environ.get("PYTHONPATH"))))
    thread_settings = dict.fromkeys(THREAD_VARIABLES, str(threads))
    own = {"PYTHONPATH": path, PARENT: str(os.getpid())}
    return inherited() | thread_settings | ENVIRONMENT | folders(launched=launched) | own


def folders(*, launched: bool = False) -> dict[str, str]:
    """Return the variables that tell a worker where to keep files. Raises UserError if there is no room for them.

    What a worker that is killed leaves in its temporary folder is gone with this process. Inductor's cache stays where
    PyTorch has it by default, in the temporary folder of all processes: the first call of a later run is to find it.
    Ranks that are `launched` have temporary folders of the launcher's.
    """
    variables: dict[str, str] = {}
    if NUMBA_CACHE not in os.environ and not os.access(ROOT / "impls", os.W_OK):  # where Numba keeps it otherwise
        variables[NUMBA_CACHE] = str(folder_of_workers() / "numba")
    if launched:
        return variables
    user = re.sub(r"\W", "_", psutil.Process().username())
    cache = os.environ.get(INDUCTOR_CACHE) or str(Path(tempfile.gettempdir(), f"torchinductor_{user}"))
    return variables | {"TMPDIR": str(folder_of_workers()), INDUCTOR_CACHE: cache}


class Shared(NamedTuple):
    """Paths of files that this process and its workers share."""

    examples: tuple[str, str]  # .npy files that hold x (N, 784) and one-hot y (N, 10)
    exchange: str  # for what a worker hands over


@contextmanager
def shared_examples(x: Array, y: Array) -> Generator[Shared]:
    """Give the paths of files with the examples `x` (N, 784) and one-hot `y` (N, 10), and of one for an exchange."""
    with files_of_this_process("x.npy", "y.npy", "exchange") as paths:
        for path, array in zip(paths[:2], (x, y), strict=True):
            with path.open("r+b") as file:
                np.save(file, array)
        x_path, y_path, exchange = map(str, paths)
        yield Shared((x_path, y_path), exchange)


@contextmanager
def files_of_this_process(*names: str) -> Generator[list[Path]]:
    """Give the paths of empty files that other processes of this user can read and write.

    On Linux they are memory of this process. Nothing is left behind even if it is killed.
    """
    if not hasattr(os, "memfd_create"):
        with temporary_folder() as folder:
            paths = [folder / name for name in names]
            for path in paths:
                path.touch()
            yield paths
        return
    descriptors = [os.memfd_create(name) for name in names]
    try:
        yield [Path(f"/proc/{os.getpid()}/fd/{descriptor}") for descriptor in descriptors]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
