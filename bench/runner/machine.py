"""Facts about the machine that a reader of the results needs, and what disturbed it while it was measured."""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from bench.conditions import Machine, MemoryRate, printable
from bench.runner.worker_environment import ENVIRONMENT, THREAD_VARIABLES, removed
from bench.system.cpus import TOPOLOGY, siblings, smallest_quota, usable_cpus
from impls.interface import Array

# How the names of variables begin by which libraries are told what to do.
STEERING = (
    "BLIS_", "DNNL_", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES", "GOMP_", "GOTO_", "JAX_", "KMP_", "LD_AUDIT",
    "LD_PRELOAD", "MALLOC_", "MKL_", "NPY_", "NUMBA_", "NUMPY_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHONMALLOC",
    "PYTHONOPTIMIZE", "PYTHON_CPU_COUNT", "PYTHON_GIL", "PYTHON_JIT", "RAYON_", "TF_ENABLE_", "TF_GPU_", "TF_NUM_",
    "TF_XLA_", "TORCH", "VECLIB_", "XLA_",
)  # fmt: skip
LONGEST_VALUE = 100
BY_SCIKIT_LEARN = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}  # set when it is imported
BUSY = ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc")  # kinds of CPU time, on all systems
PASSES = 3  # over memory; the fastest counts
CACHES = 4  # times the largest cache, both arrays of all threads together …
MOST_BYTES = 1 << 29  # … at most
USUAL_CACHE = 32 << 20  # where the system does not tell
PACKAGES = ("backprop-bench", "numpy", "scipy", "threadpoolctl", "pytest-benchmark", "py-spy")


def facts() -> Machine:
    """Return processor, cores, memory, system and versions."""
    build = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"] if isinstance(build, dict) else {}
    flags = _cpu_info().get("flags", "").split()
    group = smallest_quota()
    return Machine(
        cpu_model=cpu_model(),
        cpus=os.cpu_count(),
        usable_cpus=len(usable_cpus()),
        cpu_quota=group.cpus if group is not None and group.cpus < len(usable_cpus()) else None,
        siblings=siblings(),
        memory_bytes=psutil.virtual_memory().total,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        hypervisor="hypervisor" in flags,
        avx512="avx512f" in flags,
        system=platform.platform(),
        python=platform.python_version(),
        versions={name: version for name in PACKAGES if (version := _version(name))},
        numpy_blas=f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        variables=steering_variables(),
    )


def steering_variables() -> dict[str, str]:
    """Return the variables that steer libraries in workers, but for those that every worker sets itself."""
    own = {*THREAD_VARIABLES, *ENVIRONMENT, *BY_SCIKIT_LEARN, *removed()}
    steering = {name: value for name, value in os.environ.items() if value and name.startswith(STEERING)}
    return {
        printable(name, LONGEST_VALUE): printable(value, LONGEST_VALUE)
        for name, value in sorted(steering.items())
        if name not in own
    }


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def cpu_ticks() -> tuple[float, float] | None:
    """Return the seconds stolen by the hypervisor and all seconds of all CPUs since boot; None where unknown."""
    times = psutil.cpu_times()._asdict()
    if "steal" not in times:
        return None
    return times["steal"], sum(seconds for name, seconds in times.items() if not name.startswith("guest"))


def steal_percent(before: tuple[float, float] | None, after: tuple[float, float] | None) -> float | None:
    """Return the share of CPU time that the hypervisor gave to others between two readings, in per cent."""
    if before is None or after is None or after[1] == before[1]:
        return None
    return 100 * (after[0] - before[0]) / (after[1] - before[1])


def busy_seconds() -> float:
    """Return the CPU time that the usable CPUs have spent on anything since boot."""
    by_cpu = [times._asdict() for times in psutil.cpu_times(percpu=True)]
    usable = [by_cpu[cpu] for cpu in usable_cpus() if cpu < len(by_cpu)]
    return float(sum(times.get(kind, 0.0) for times in usable for kind in BUSY))


def own_seconds() -> float:
    """Return the CPU time of this process and of those of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def load_average() -> float | None:
    """Return the processes that wanted to run over the last minute, on average."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def memory_rates(threads: Iterable[int]) -> list[MemoryRate]:
    """Return the bytes a second that memory gives and takes, for each number of threads that ask for them.

    `a += b` on arrays that no cache holds, each thread on arrays of its own: two numbers are read and one is written
    for each addition (STREAM's "add" in place; McCalpin, 1995). The best of a few passes counts, as there.
    """
    return [MemoryRate(count, _measured(count)) for count in sorted(set(threads))]


def _measured(threads: int) -> float:
    numbers = min(CACHES * largest_cache(), MOST_BYTES) // (2 * 8 * threads)
    with ThreadPoolExecutor(threads) as pool:
        arrays = list(pool.map(_arrays, [numbers] * threads))
        seconds = min(_pass(pool, arrays) for _ in range(PASSES))
    return 3 * 8 * numbers * threads / seconds


def _arrays(numbers: int) -> tuple[Array, Array]:
    return np.ones(numbers), np.ones(numbers)  # written by the thread that reads them: near its core


def _pass(pool: ThreadPoolExecutor, arrays: list[tuple[Array, Array]]) -> float:
    start = time.perf_counter()
    list(pool.map(lambda pair: np.add(pair[0], pair[1], out=pair[0]), arrays))
    return time.perf_counter() - start


def largest_cache(topology: Path = TOPOLOGY) -> int:
    """Return the bytes of the largest cache of the first CPU."""
    sizes = []
    for path in topology.glob("cpu0/cache/index*/size"):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(path.read_text().strip().removesuffix("K")) << 10)  # Linux writes all sizes as "32K".
    return max(sizes, default=USUAL_CACHE)


def _cpu_info() -> dict[str, str]:
    """Return the first processor's entry in /proc/cpuinfo."""
    pairs = (line.split(":", 1) for line in _read("/proc/cpuinfo").split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _version(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None
