"""Starting the ranks of a job with the MPI that is installed: on one machine, as root or not, however few its cores.

`python -P -m bench.measurement.launch RANKS MODULE [ARGUMENT…]` becomes an mpiexec that ends with the process which
started it, however that ends.
"""

import os
import sys
from collections.abc import Sequence

from impls.errors import UserError
from impls.mpiexec import EXPECTED, ONE_MACHINE, mpiexec, no_mpiexec

ENVIRONMENT = ONE_MACHINE | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",  # containers have no other user …
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # … and Open MPI counts cores, some of them wrongly
    "PRTE_MCA_hwloc_default_binding_policy": "none",  # CPUs are given by the one who measures
}


def command(ranks: int, module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python on so many ranks."""
    return [sys.executable, "-P", "-m", __name__, str(ranks), module, *arguments]


def environment(ranks: int) -> dict[str, str]:
    """Return what the environment of a job needs beyond one's own."""
    return ENVIRONMENT | {EXPECTED: str(ranks)}


def main(arguments: Sequence[str]) -> None:
    """Become mpiexec. Raises UserError if there is none."""
    from bench.measurement.linux import die_with_the_parent

    ranks, module, *rest = arguments
    program = mpiexec()
    if program is None:
        raise UserError(f"needs {no_mpiexec()}")
    die_with_the_parent()
    python = [sys.executable, "-P", "-m", module, *rest]
    os.execve(program, [program, "-n", ranks, *python], os.environ | environment(int(ranks)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"backprop: error: {error}")
