"""MNIST: its four files, known by the SHA-256 of their content, whatever they are called and however they are nested.

Of each file in a folder only the start is read, unless that is the header of one of MNIST's files. Then the content is
read, and never more of it is decompressed than the known size. A pickle is never loaded.
"""

import gzip
import hashlib
import math
import os
import re
import shlex
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from bench.problem.data import ENVIRONMENT
from bench.problem.dataset import PIXELS
from impls.errors import UserError
from impls.needs import backprop_command

MAX_DEPTH = 4  # folders below the one that is named; torchvision and Kaggle need two
MAX_ENTRIES = 5_000  # files and folders that are looked at, so that a home folder is searched in a second
IDX_TYPES = (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)
START_BYTES = 4096  # of a file, enough to see what it is
OTHER_DATA_SETS = {"fashion": "Fashion-MNIST", "kmnist": "KMNIST", "emnist": "EMNIST", "qmnist": "QMNIST"}


@dataclass(frozen=True)
class Known:
    """What is known of one of MNIST's files: the shape of its array, and the SHA-256 of its content."""

    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The header of an IDX file: two zero bytes, the type (8: bytes), the number of dimensions, the dimensions."""
        return struct.pack(f">HBB{len(self.shape)}I", 0, 8, len(self.shape), *self.shape)

    @property
    def size(self) -> int:
        """The size of the content in bytes."""
        return len(self.header) + math.prod(self.shape)


FILES = {
    "train-images-idx3-ubyte": Known(
        (60_000, 28, 28), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": Known((60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": Known(
        (10_000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": Known((10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}


@dataclass(frozen=True)
class MnistFile:
    """A file with the content of one of MNIST's files."""

    path: Path
    name: str  # that MNIST has for it
    array: NDArray[np.uint8]


class Likeness(IntEnum):
    """How much a file is like one of MNIST's, so that of many other files the one that explains most is named."""

    NONE = 0
    OTHER_FORM = 1  # it may be MNIST in another form, such as a pickle; or it cannot be read
    IDX = 2
    ALMOST = 3  # it has the header of a file of MNIST, or is a damaged gzip file


@dataclass(frozen=True)
class OtherFile:
    """Anything else, or a folder that cannot be read."""

    path: Path
    description: str
    likeness: Likeness


@dataclass
class Search:
    """What was found in a folder."""

    mnist_files: dict[str, MnistFile] = field(default_factory=dict)  # by MNIST's name; the first of duplicates
    other_files: list[OtherFile] = field(default_factory=list)
    limit: str | None = None  # that ended the search early

    @property
    def missing(self) -> list[str]:
        """MNIST's names of the files that were not found."""
        return [name for name in FILES if name not in self.mnist_files]


def cache_folder() -> Path:
    """Return the folder in the user's cache where `mnist_download.fetch` puts MNIST."""
    return Path(pooch.os_cache("backprop-bench")) / "mnist"


def read(folder: Path) -> tuple[tuple[NDArray[np.uint8], NDArray[np.intp]], tuple[NDArray[np.uint8], NDArray[np.intp]]]:
    """Return the images (N, 784), 0 to 255, and the labels (N,), 0 to 9, to train on, and those to test on.

    Raises UserError if `folder` or the folders in it do not hold the four files of MNIST, byte for byte.
    """
    try:
        if not folder.is_dir():
            raise _not_a_folder(folder)
        search = search_folder(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}; {_how_to_download(folder)}") from error
    if search.missing:
        raise _missing(folder, search)
    images, labels, test_images, test_labels = (search.mnist_files[name].array for name in FILES)
    return (
        (images.reshape(-1, PIXELS**2), labels.astype(np.intp)),
        (test_images.reshape(-1, PIXELS**2), test_labels.astype(np.intp)),
    )


def search_folder(folder: Path) -> Search:
    """Search a folder and those in it, the nearest first, until MNIST's four files or a limit is found.

    Raises OSError if the folder itself cannot be read.
    """
    search = Search()
    for count, (path, is_folder) in enumerate(_walk(folder, search)):
        if not search.missing:
            break
        if count == MAX_ENTRIES:
            search.limit = f"the search ended after {MAX_ENTRIES:,} files and folders"
            break
        if not is_folder:
            file = examine(path)
            if isinstance(file, OtherFile):
                search.other_files.append(file)
            else:
                search.mnist_files.setdefault(file.name, file)
    return search


def examine(path: Path) -> MnistFile | OtherFile:
    """Return what a file is by its content, which may be compressed by gzip. Never raises for what it finds."""
    try:
        if not path.is_file():
            return OtherFile(path, "neither a file nor a folder", Likeness.NONE)
        with path.open("rb") as file:
            start = file.read(START_BYTES)
            compressed = start.startswith(b"\x1f\x8b")
            if compressed:
                start = _decompress_start(start)
            name = next((name for name, known in FILES.items() if start.startswith(known.header)), None)
            if name is None:
                return _describe(path, start)
            known = FILES[name]
            file_size, largest = path.stat().st_size, known.size
            if compressed:
                largest += known.size // 100 + START_BYTES  # gzip adds little to what it cannot compress
            if file_size > largest:
                return OtherFile(path, f"{_describe_idx(start)}, too long ({file_size:,} bytes)", Likeness.ALMOST)
            file.seek(0)
            content = (gzip.GzipFile(fileobj=file) if compressed else file).read(known.size + 1)
    except EOFError:
        return OtherFile(path, "a truncated gzip file", Likeness.ALMOST)
    except (gzip.BadGzipFile, zlib.error):
        return OtherFile(path, "a damaged gzip file", Likeness.ALMOST)
    except OSError as error:
        return OtherFile(path, f"a file that cannot be read ({error.strerror})", Likeness.OTHER_FORM)
    if len(content) != known.size:
        fault = "too long" if len(content) > known.size else "truncated"
        return OtherFile(path, f"{_describe_idx(start)}, {fault}", Likeness.ALMOST)
    if hashlib.sha256(content).hexdigest() != known.sha256:
        return OtherFile(path, f"{_describe_idx(start)}, as in MNIST but {_other_content(path)}", Likeness.ALMOST)
    array = np.frombuffer(content, np.uint8, offset=len(known.header)).reshape(known.shape)
    return MnistFile(path, name, array)


def _decompress_start(start: bytes) -> bytes:
    """Return the first bytes of what a gzip file holds. Raises EOFError if it is truncated, or zlib.error."""
    decompressor = zlib.decompressobj(wbits=31)
    content = decompressor.decompress(start, START_BYTES)
    if len(start) < START_BYTES and len(content) < START_BYTES and not decompressor.eof:
        raise EOFError
    return content


def _walk(folder: Path, search: Search) -> Iterator[tuple[Path, bool]]:
    """Yield what is in a folder and in those within, and whether it is a folder, the nearest first.

    Hidden folders are not entered; other folders that are not entered are noted in `search`.
    """
    folders = [folder]
    for depth in range(MAX_DEPTH + 1):
        inner_folders = []
        for outer in folders:
            try:
                with os.scandir(outer) as scan:
                    entries = [("ubyte" not in entry.name, entry.name, entry.is_dir()) for entry in scan]
            except OSError as error:
                if depth == 0:
                    raise
                search.other_files.append(
                    OtherFile(outer, f"a folder that cannot be read ({error.strerror})", Likeness.OTHER_FORM)
                )
                continue
            # A folder with too many files is searched only in part: those called as MNIST's usually are come first.
            for _, name, is_folder in sorted(entries):
                yield outer / name, is_folder
                if is_folder and not name.startswith("."):
                    inner_folders.append(outer / name)
        folders = inner_folders
    if folders:
        search.limit = f"the search ended {MAX_DEPTH} folders below this one"


def _describe(path: Path, start: bytes) -> OtherFile:
    """Return what a file that is not MNIST's is, by the start of its content or its name."""
    if len(start) >= 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES:
        by_path = _data_set_by_path(path)
        return OtherFile(path, _describe_idx(start) + (f" ({by_path} by its path)" if by_path else ""), Likeness.IDX)
    if start[:1] == b"\x80" or b"cnumpy" in start or {".pkl", ".pickle"} & set(path.suffixes):
        return OtherFile(path, "a pickle, which is never loaded", Likeness.OTHER_FORM)
    if start.startswith(b"PK\x03\x04"):
        archive = "a NumPy archive (npz)" if b".npy" in start else "a zip archive: unpack it if MNIST is in it"
        return OtherFile(path, archive, Likeness.OTHER_FORM)
    if path.suffix == ".csv" or re.match(rb"(label|\d),", start):
        return OtherFile(path, "a CSV file", Likeness.OTHER_FORM)
    return OtherFile(path, "another kind of file" if start else "an empty file", Likeness.NONE)


def _describe_idx(start: bytes) -> str:
    """Return what the start of an IDX file says that it holds."""
    dimensions = start[3]
    if len(start) < 4 + 4 * dimensions:
        return "an IDX file with a truncated header"
    shape = struct.unpack_from(f">{dimensions}I", start, 4)
    if dimensions == 1:
        return f"an IDX file of {shape[0]:,} labels"
    if dimensions == 3:
        return f"an IDX file of {shape[0]:,} images of {shape[1]} x {shape[2]}"
    return f"an IDX file of {dimensions} dimensions"


def _other_content(path: Path) -> str:
    by_path = _data_set_by_path(path)
    return f"of {by_path} by its path" if by_path else "altered, or of another data set"


def _data_set_by_path(path: Path) -> str | None:
    """Return the data set that the path names. All have the form of MNIST, so that the header does not tell."""
    names = "/".join(path.parts[-MAX_DEPTH:]).lower()
    return next(
        (data_set for word, data_set in OTHER_DATA_SETS.items() if re.search(rf"(?<![a-z]){word}", names)), None
    )


def _not_a_folder(path: Path) -> UserError:
    expected = f"{path}: expected a folder with the four files of MNIST"
    if not os.path.lexists(path):
        return UserError(f"{expected}, found nothing there; {_how_to_download(path, can_hold_mnist=True)}")
    file = examine(path)
    if isinstance(file, MnistFile):
        return UserError(f"{expected}, found one of the files; name its folder: {path.parent}")
    return UserError(f"{expected}, found {file.description}; {_how_to_download(path)}")


def _missing(folder: Path, search: Search) -> UserError:
    """Return the error that some of MNIST's files are not in a folder, with what is most like them."""
    missing = ", ".join(search.missing) if search.mnist_files else "all"
    closest = max(search.other_files, key=lambda file: file.likeness, default=None)
    if closest is None:
        found = "none"
    elif closest.likeness == Likeness.NONE:
        found = f"{len(search.other_files):,} of another kind"
    else:
        others = f" (and {len(search.other_files) - 1:,} more)" if len(search.other_files) > 1 else ""
        found = f"{closest.path.relative_to(folder)}, {closest.description}{others}"
    limit = f"{search.limit}: name the folder that holds the files, or " if search.limit else ""
    can_hold_mnist = not search.other_files and not search.limit
    return UserError(
        f"{folder}: expected the four files of MNIST, under any names; missing: {missing}; other files: {found}; "
        f"{limit}{_how_to_download(folder, can_hold_mnist)}"
    )


def _how_to_download(folder: Path, can_hold_mnist: bool = False) -> str:
    """Return what to do to get MNIST. Only a folder without files of others is advised as the place for it."""
    download = "download MNIST with:"
    cache = cache_folder()
    if folder == cache:
        remove = "" if can_hold_mnist else f"remove what is not MNIST's from {cache}, "
        return f"{remove}{download} {backprop_command('data fetch')}; or name a folder that has it in {ENVIRONMENT}"
    if can_hold_mnist and _is_writable(folder):
        return f"{download} {backprop_command(f'data fetch --to {shlex.quote(str(folder))}')}"
    return f"{download} {backprop_command('data fetch')}; then use --data={shlex.quote(str(cache))}"


def _is_writable(folder: Path) -> bool:
    """Return whether a folder can be written to or made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.access(path, os.F_OK))
    return existing.is_dir() and os.access(existing, os.W_OK)
