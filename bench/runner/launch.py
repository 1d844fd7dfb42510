"""Starting the ranks of a job with the MPI that is installed: on one machine, as root or not, however few its cores.

`python -P -m bench.runner.launch RANKS MODULE [ARGUMENT…]` runs mpiexec and ends with it. Whichever of the two is
killed, or the process that started them: all of the job ends, and none of its files stay.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.system import processes
from impls.support.errors import UserError
from impls.support.mpiexec import EXPECTED, ONE_MACHINE, mpiexec, no_mpiexec

ENVIRONMENT = ONE_MACHINE | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",  # containers have no other user …
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # … and Open MPI counts cores, some of them wrongly
    "PRTE_MCA_hwloc_default_binding_policy": "none",  # CPUs are given by the one who measures
}
# Where Open MPI has its files: named by its process id, and it does not start beside those of a job that was killed.
FOLDERS = ("TMPDIR", "OMPI_MCA_btl_sm_backing_directory")
SHARED_MEMORY = Path("/dev/shm")  # what ranks exchange is in files there, where there is such a folder


def command(ranks: int, module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python on so many ranks."""
    return [sys.executable, "-P", "-m", __name__, str(ranks), module, *arguments]


def clean(pid: int) -> None:
    """Remove the files of a job whose launcher, the process `pid`, was killed."""
    for folder in _where().glob(f"{_prefix(pid)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """Run mpiexec and return its exit status. Raises UserError if there is none."""
    ranks, module, *rest = arguments
    program = mpiexec()
    if program is None:
        raise UserError(f"needs {no_mpiexec()}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    processes.die_with_the_parent(signal.SIGTERM)
    processes.adopt_orphans()  # ranks whose mpiexec was killed
    prefix = _prefix(os.getpid())
    with tempfile.TemporaryDirectory(prefix=prefix, dir=_where(), ignore_cleanup_errors=True) as folder:
        try:
            return subprocess.call(
                [program, "-n", ranks, sys.executable, "-P", "-m", module, *rest],
                env=os.environ | ENVIRONMENT | {EXPECTED: ranks} | dict.fromkeys(FOLDERS, folder),
                preexec_fn=partial(processes.die_with_the_parent, parent=os.getpid()) if processes.HERE else None,
            )
        finally:
            processes.kill_children(os.getpid())


def _where() -> Path:
    return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())


def _prefix(pid: int) -> str:
    return f"backprop-bench-{pid}-"


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"backprop: error: {error}")
    sys.exit(status if status >= 0 else 128 - status)
