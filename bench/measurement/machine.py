"""Facts about the machine that a reader of the results needs, and what disturbed it while it was measured."""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path

import numpy as np
import psutil

from bench.cpus import siblings, smallest_quota, usable_cpus
from bench.measurement.process import ENVIRONMENT, THREAD_VARIABLES
from bench.measurement.worker_environment import removed
from bench.records import Machine, printable

# How the names of variables begin by which libraries are told what to do.
STEERING = (
    "BLIS_", "DNNL_", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES", "GOMP_", "GOTO_", "JAX_", "KMP_", "LD_AUDIT",
    "LD_PRELOAD", "MALLOC_", "MKL_", "NPY_", "NUMBA_", "NUMPY_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHONMALLOC",
    "PYTHONOPTIMIZE", "PYTHON_CPU_COUNT", "PYTHON_GIL", "PYTHON_JIT", "RAYON_", "TF_ENABLE_", "TF_GPU_", "TF_NUM_",
    "TF_XLA_", "TORCH", "VECLIB_", "XLA_",
)  # fmt: skip
LONGEST_VALUE = 100
BY_SCIKIT_LEARN = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}  # set when it is imported
IDLE = (3, 4)  # fields of /proc/stat: idle, iowait
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
    told = {name: value for name, value in os.environ.items() if value and name.startswith(STEERING)}
    return {
        printable(name, LONGEST_VALUE): printable(value, LONGEST_VALUE)
        for name, value in sorted(told.items())
        if name not in own
    }


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def cpu_ticks() -> tuple[int, int] | None:
    """Return the ticks stolen by the hypervisor and all ticks since boot, over all CPUs; None where unknown."""
    text = _read("/proc/stat")
    if not text:
        return None
    ticks = [int(field) for field in text.splitlines()[0].split()[1:9]]  # user … steal; guest is part of user
    return ticks[7], sum(ticks)


def steal_percent(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """Return the share of CPU time that the hypervisor gave to others between two readings, in per cent."""
    if before is None or after is None or after[1] == before[1]:
        return None
    return 100 * (after[0] - before[0]) / (after[1] - before[1])


def busy_seconds() -> float | None:
    """Return the CPU time that the usable CPUs have spent on anything since boot; None where unknown."""
    lines = {line.split()[0]: line.split()[1:] for line in _read("/proc/stat").splitlines() if line.startswith("cpu")}
    fields = [lines[f"cpu{cpu}"] for cpu in usable_cpus() if f"cpu{cpu}" in lines]
    if not fields:
        return None
    ticks = sum(int(ticks) for of in fields for index, ticks in enumerate(of[:7]) if index not in IDLE)
    return ticks / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the CPU time of this process and of those of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def load_average() -> float | None:
    """Return the processes that wanted to run over the last minute, on average."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


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
