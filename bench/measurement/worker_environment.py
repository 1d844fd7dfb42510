"""The environment of timed processes: that of this process, without what would trace, check or debug them.

Also where timed processes keep files: temporary ones in a folder that goes with the run, caches where they outlive it.
"""

import getpass
import os
import re
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from bench.files import folder_of_workers
from bench.measurement.tracers import kept
from impls import ROOT

INDUCTOR_CACHE, NUMBA_CACHE = "TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR"
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


def folders(*, launched: bool = False) -> dict[str, str]:
    """Return the variables that tell a worker where to keep files. Raises UserError if there is no room for them.

    What a worker that is killed leaves in its temporary folder is gone with this process. Inductor's cache stays where
    PyTorch has it by default, in the temporary folder of all processes: the first call of a later run is to find it.
    Ranks that are `launched` have temporary folders of the launcher's.
    """
    folder = folder_of_workers()
    found = {} if launched else {"TMPDIR": str(folder), INDUCTOR_CACHE: str(_inductor_cache(folder))}
    if not any(map(_writable, _numba_caches())):
        found[NUMBA_CACHE] = str(folder / "numba")
    return found


def _inductor_cache(folder: Path) -> Path:
    """Return the folder of Inductor's cache: what the user has set, or what PyTorch takes by default."""
    if given := os.environ.get(INDUCTOR_CACHE):
        return Path(given)
    try:
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    except (ImportError, KeyError, OSError):  # a user without a name, for whom PyTorch has no default
        return folder / "torchinductor"
    return Path(tempfile.gettempdir(), f"torchinductor_{user}")


def _numba_caches() -> list[Path]:
    """Return the folders that Numba tries: what the user has set, beside the source, the user's caches."""
    given = os.environ.get(NUMBA_CACHE, "")
    user_caches = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))  # noqa: PTH111 (as Numba does)
    tried = [Path(given), ROOT / "impls" / "__pycache__", Path(user_caches, "numba")]
    return [folder for folder in tried if folder.is_absolute()]  # without a home, the last one is relative


def _writable(folder: Path) -> bool:
    """Return whether files can be made in a folder; makes it if it is missing, as Numba does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
