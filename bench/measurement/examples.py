"""Files that this process and its workers share, gone with this process however it ends."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.files import temporary_folder
from impls.interface import Array


class Shared(NamedTuple):
    """Paths of files."""

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
