"""MNIST: its four files, known by the SHA-256 of their content, whatever they are called and however they are nested.

They are downloaded by pooch, to the user's cache or to a folder. A pickle is never loaded.
"""

import gzip
import hashlib
import os
import shlex
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray
from requests import RequestException

from bench.workloads.data import ENVIRONMENT
from impls.support.errors import UserError
from impls.support.needs import backprop_command

FILES = {  # SHA-256 of the content, not compressed
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
REGISTRY = {  # SHA-256 of the compressed files on the mirrors, as published by TensorFlow Datasets
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT_SECONDS = 30.0  # of a silent server
OTHER_DATA_SETS = ("Fashion-MNIST", "KMNIST", "EMNIST", "QMNIST")
MAX_FILES = 5_000  # that are looked at, so that a home folder is searched in a second
MAX_BYTES = 60_000 * 28 * 28 + 16  # of the largest of the four files; what is longer is not read
IDX_OF_BYTES = (b"\0\0\x08\x01", b"\0\0\x08\x03")  # how files of labels and of images begin


def cache_folder() -> Path:
    """Return the folder in the user's cache where `fetch` puts MNIST."""
    return Path(pooch.os_cache("backprop-bench")) / "mnist"


def read(folder: Path) -> tuple[NDArray[np.uint8], ...]:
    """Return images (N, 28, 28), 0 to 255, and labels (N,), 0 to 9, to train on, then those to test on.

    Raises UserError if `folder` and the folders in it do not hold the four files of MNIST, byte for byte.
    """
    contents, other_files = _search(folder)
    missing = [name for name in FILES if name not in contents]
    if missing:
        to_cache = folder == cache_folder() or other_files  # into a folder of other files nothing is downloaded
        command = backprop_command("data fetch" if to_cache else f"data fetch --to {shlex.quote(str(folder))}")
        raise UserError(
            f"{folder}: expected a folder with the four files of MNIST, under any names; missing: "
            f"{', '.join(missing)}; {_describe(folder, other_files)}; download MNIST with: {command}"
            f"{', then --data=mnist' if other_files else ''}; "
            f"or name a folder that has it with --data or in {ENVIRONMENT}"
        )
    return tuple(_array(contents[name]) for name in FILES)


def fetch(folder: Path | None = None, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Download the files of MNIST that are not yet in `folder` (None: the user's cache) and return the folder.

    `mirrors` are base addresses, tried in turn. A file appears in the folder whole and checked, or not at all, and none
    is ever replaced.
    Raises UserError if another file has the name of one that is missing, if no mirror has a file, or if the folder
    cannot be written to.
    """
    folder = folder or cache_folder()
    contents, _ = _search(folder)
    paths = [folder / f"{name}.gz" for name in FILES if name not in contents]
    for path in filter(os.path.lexists, paths):
        raise UserError(
            f"{path}: expected nothing there or MNIST's file of that name, found another one, which is not replaced; "
            "choose another folder with --to, or remove it"
        )
    for path in paths:
        _download(path, mirrors)
    return folder


def _download(path: Path, mirrors: Sequence[str]) -> None:
    """Download a file to its place from the first mirror that has it with the known SHA-256."""
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"})
    reasons = []
    for mirror in mirrors:
        try:
            pup = pooch.create(path.parent, mirror, registry=REGISTRY, retry_if_failed=1)
            pup.fetch(path.name, downloader=downloader)
            path.chmod(0o644)  # pooch's files are for their owner only
            return
        except (RequestException, ValueError) as error:
            reason = str(error).partition(". ")[0]  # of pooch's four sentences on a wrong SHA-256, the one that has it
            reasons.append(f"{mirror}: {reason}")
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written: {error.strerror or error}; choose another folder with --to"
            ) from error
    raise UserError(
        f"{path.name}: no mirror has it ({'; '.join(reasons)}); try again later, or get the four files by hand and "
        "name their folder with --data"
    )


def _search(folder: Path) -> tuple[dict[str, bytes], list[Path]]:
    """Return the contents of MNIST's files in a folder and in those within, by MNIST's names; and all other files."""
    names = {sha256: name for name, sha256 in FILES.items()}
    contents: dict[str, bytes] = {}
    other_files: list[Path] = []
    paths = (Path(parent, name) for parent, _, in_parent in os.walk(folder) for name in sorted(in_parent))
    for path in islice(paths, MAX_FILES):
        content = _read_idx(path)
        name = names.get(hashlib.sha256(content).hexdigest())
        if name:
            contents[name] = content
        else:
            other_files.append(path)
        if len(contents) == len(FILES):
            break
    return contents, other_files


def _read_idx(path: Path) -> bytes:
    """Return the content of an IDX file of bytes, decompressed if need be; of any other or damaged file, nothing."""
    with suppress(OSError, EOFError, zlib.error):
        if path.is_file():  # no pipe, from which nothing may ever come
            with path.open("rb") as plain:
                file = gzip.GzipFile(fileobj=plain) if plain.peek(2)[:2] == b"\x1f\x8b" else plain
                start = file.read(4)
                return start + file.read(MAX_BYTES) if start in IDX_OF_BYTES else b""
    return b""


def _array(content: bytes) -> NDArray[np.uint8]:
    """Return the array in an IDX file of bytes: after the four bytes of its type, four for each dimension."""
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _describe(folder: Path, other_files: list[Path]) -> str:
    """Return in words what is in a folder beside MNIST's files."""
    if not folder.is_dir():
        return "found no folder of that name"
    if not other_files:
        return "no other files"
    likely = min(other_files, key=lambda path: "ubyte" not in path.name)
    return f"other files: {len(other_files):,}, such as {likely.relative_to(folder)}, {_kind(likely)}"


def _kind(path: Path) -> str:
    """Return what a file that is not MNIST's is, by its first bytes or its path: headers of IDX files are alike."""
    start = b""
    with suppress(OSError):
        if path.is_file():  # no pipe
            with path.open("rb") as file:
                start = file.read(4)
    if start[:1] == b"\x80" or {".pkl", ".pickle"} & set(path.suffixes):
        return "a pickle, which is never loaded"
    if start == b"PK\x03\x04":
        return "a zip or npz archive"
    if path.suffix == ".csv":
        return "a CSV file"
    data_sets = [name for name in OTHER_DATA_SETS if name.partition("-")[0].lower() in str(path).lower()]
    return f"of {data_sets[0]} by its path" if data_sets else "damaged or of another data set"
