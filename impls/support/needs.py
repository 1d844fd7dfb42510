"""What implementations need beyond the project's own dependencies, and the commands that install it."""

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from impls import ROOT

DRIVER_SECONDS = 20.0
ASK_DRIVER = """
import ctypes, sys
driver, count = ctypes.CDLL(sys.argv[1]), ctypes.c_int(0)
sys.exit(not (driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0))
"""


def in_checkout() -> bool:
    """Return whether this is a checkout of the project, as it is meant to be, and not an installed copy."""
    return (ROOT / "Makefile").is_file() and (ROOT / "impls" / "rust" / "Cargo.toml").is_file()


@cache
def no_gpu() -> str | None:
    """Return what is missing for an implementation on an NVIDIA GPU, or None.

    Another process asks the driver, which may hang or crash, and which no package installs.
    """
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    command = [sys.executable, "-I", "-S", "-c", ASK_DRIVER, library]
    try:
        subprocess.run(command, capture_output=True, timeout=DRIVER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return "an NVIDIA GPU: no driver, or it shows none (CUDA_VISIBLE_DEVICES hides them if it is empty)"
    return None


def no_compiler() -> str | None:
    """Return what is missing for an implementation that compiles C++ as it runs, or None."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return None if any(map(shutil.which, filter(None, compilers))) else "a C++ compiler, such as g++, on PATH"


def switched_off(compiler: str, *variables: str) -> str | None:
    """Return what is missing for an implementation if one of these variables switches its compiler off, or None."""
    for name in variables:
        value = os.environ.get(name, "")
        if value.lower() not in ("", "0", "false"):
            return f"{compiler}, which {name}={value[:20]} switches off: unset it"
    return None


def pip_command(requirement: str) -> str:
    """Return the command that installs a requirement where the user stands: for this very Python.

    `uv venv` and `uv sync` make environments without pip; there uv installs.
    """
    python = _from_here(Path(sys.executable))
    if is_installed("pip"):
        return f"{python} -m pip install {requirement}"
    return f"uv pip install --python {python} {requirement}"


def backprop_command(arguments: str) -> str:
    """Return a command of ours as it can be typed where the user stands: by its name in an active environment."""
    program = Path(sys.executable).with_name("backprop")
    active = shutil.which("backprop") == str(program)
    return f"{'backprop' if active else _from_here(program)} {arguments}"


def _from_here(program: Path) -> str:
    """Return the path of a program, from the current folder if it is within, quoted for a shell."""
    return shlex.quote(str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program))


def is_installed(distribution: str) -> bool:
    """Return whether a distribution is installed, by its metadata.

    Whoever looks for pip as a module is taken for pip by setuptools, which then withdraws its own distutils: PyTorch
    would compile nothing more in this process.
    """
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def extra_command(name: str) -> str:
    """Return the command that installs one of the project's extras."""
    place = "." if Path.cwd() == ROOT else str(ROOT)
    return pip_command(f"-e {shlex.quote(f'{place}[{name}]')}")


def make_command(target: str) -> str:
    """Return the command that makes a target of the project's Makefile."""
    return f"make {target}" if Path.cwd() == ROOT else f"make -C {shlex.quote(str(ROOT))} {target}"


@dataclass(frozen=True)
class Needs:
    """What an implementation needs beyond the project's own dependencies."""

    modules: tuple[str, ...] = ()
    command: Callable[[], str] = str  # returns the command that installs them where the user stands
    machine: Callable[[], str | None] = lambda: None  # returns what the machine itself lacks, or None
    distribution: str = ""  # holds the implementation's own code, if that is installed and not of this checkout

    def missing(self) -> str | None:
        """Return what is missing here, with what to do, or None. Imports nothing."""
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        if missing:
            return f"needs {' and '.join(missing)}: {self.command()}"
        lack = self.machine()
        return f"needs {lack}" if lack else None


def lacking(words: str) -> Needs:
    """Return what cannot be met here, in words."""
    return Needs(machine=lambda: words)
