"""Who rejects a mutant: `python -m tests.mutants.judges JUDGE FILE:CLASS` prints why, or nothing if the row passes.

A judge runs in a process of its own, because a mutant may crash or hang it.
"""

import os
import resource
import sys
from collections.abc import Callable

from impls.conformance import first_violation
from impls.registry import load_target

MOST_MEMORY_BYTES = 8 << 30  # of addresses: a mutant that wants more gets a MemoryError


def verify(target: str) -> str:
    """Return the name of the first check of the conformance kit that fails, "" for none."""
    violation = first_violation(load_target(target))
    return violation.check if violation else ""


JUDGES: dict[str, Callable[[str], str]] = {"verify": verify}  # asked in this order, until one rejects


def main() -> None:
    judge, target = sys.argv[1:]
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    print(JUDGES[judge](target))


if __name__ == "__main__":
    main()
