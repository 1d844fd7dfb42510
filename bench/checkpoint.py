"""Checkpoints: a network on its way, with the settings that it is trained with, so that training can go on.

An .npz file as `bench.training.save` writes it, with one more array, `checkpoint`: JSON as bytes. Never a pickle. What
is random follows from the seed, so nothing else has to be kept.
"""

import zlib
from pathlib import Path

import msgspec
import numpy as np

from bench import npz
from bench.problem.dataset import Dataset
from bench.records import UNREADABLE
from bench.training import Epoch, Resumed, network_of, save
from impls.errors import UserError

KEY = "checkpoint"
SCHEMA = 1


class Course(msgspec.Struct, frozen=True):
    """What the course of a training depends on."""

    implementation: str
    sizes: tuple[int, ...]
    batch_size: int
    learning_rate: float
    seed: int
    dtype: str
    data: str  # name, number of examples and check sum of what is trained on
    ranks: int  # the sum of several is rounded in another way than that of one

    @staticmethod
    def describe(dataset: Dataset) -> str:
        """Return the name, the number of examples and the check sum of the examples to train on."""
        found = zlib.crc32(np.ascontiguousarray(dataset.x_train).data)
        found = zlib.crc32(np.ascontiguousarray(dataset.labels_train, np.int64).data, found)
        return f"{dataset.name}, {len(dataset.x_train)} examples, check sum {found:08x}"


class Header(msgspec.Struct, frozen=True):
    """What a checkpoint holds beside the network."""

    schema: int
    epochs: int  # that are done
    course: Course


def write(path: Path, course: Course, epoch: Epoch) -> None:
    """Write a checkpoint after an epoch, whole or not at all. Raises UserError if that is not possible."""
    header = msgspec.json.encode(Header(SCHEMA, epoch.index + 1, course))
    save(path, epoch.parameters, **{KEY: np.frombuffer(header, np.uint8)})


def read(path: Path) -> bytes:
    """Return the content of a file. Raises UserError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no checkpoint to resume; leave --resume out to start one") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def resumed(path: Path, content: bytes, course: Course) -> Resumed:
    """Return where the content of a checkpoint goes on.

    Raises UserError if it is none, is damaged, or belongs to another training.
    """
    try:
        arrays = npz.arrays(content)
        if KEY not in arrays:
            raise ValueError(f"expected an array {KEY!r}, found {', '.join(arrays) or 'none'}")
        header = msgspec.json.decode(arrays.pop(KEY).tobytes(), type=Header)
        parameters = network_of(arrays)
    except (ValueError, *UNREADABLE) as error:
        raise UserError(f"{path}: not a checkpoint, or damaged: {error}; leave --resume out to start anew") from error
    for name in Course.__struct_fields__:
        expected, found = getattr(course, name), getattr(header.course, name)
        if expected != found:
            raise UserError(
                f"{path}: expected a checkpoint of {name} {expected}, found {found}; resume with the settings that it "
                "was made with, or name another file"
            )
    shapes = [W.shape for W in parameters.weights]
    if (
        shapes != list(zip(course.sizes[1:], course.sizes[:-1], strict=True))
        or parameters.weights[0].dtype != course.dtype
    ):
        raise UserError(f"{path}: not a checkpoint, or damaged: its network is not the one that it says")
    return Resumed(header.epochs, parameters)
