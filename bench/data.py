"""The data sets: real handwritten digits, without a download or, on request, the whole of MNIST.

Both are 28 x 28 grey images of the ten digits, as rows of 784 numbers from 0 (paper) to 1 (ink):

- *digits*, the default: scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin and Kaynak, 1998), enlarged.
- *MNIST* (LeCun, Cortes and Burges, 1998), split as in the book: the first 50,000 training images to train on, the
  10,000 test images to test on. It is read from its four IDX files and never from a pickle. The SHA-256 of their
  decompressed content is checked, because mirrors compress them differently.
"""

import gzip
import hashlib
import math
import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pooch
from numpy.typing import DTypeLike, NDArray
from requests import ConnectionError as BrokenConnection
from requests import HTTPError, RequestException, Timeout
from requests.exceptions import ChunkedEncodingError
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID

from bench.errors import UserError
from impls.interface import Array

CLASSES = 10
PIXELS = 28  # along each side of an image
DIGITS_TO_TRAIN = 1_500  # of 1,797; the rest is for the test
MNIST_TO_TRAIN = 50_000  # of 60,000; the book keeps the rest for validation

ENVIRONMENT = "BACKPROP_MNIST"  # the variable that names a folder with the four files
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
SHA256 = {  # of the decompressed content
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ROUNDS = 2  # times that every mirror is tried
PAUSE_SECONDS = 1.0  # between rounds


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples to train on and to test on; checked when it is made.

    Raises UserError if shapes do not fit, a number is not finite or a label is not a digit.
    """

    name: str
    x_train: NDArray[np.float64]  # (N, n_0), 0 to 1
    labels_train: NDArray[np.intp]  # (N,), 0 to 9
    x_test: NDArray[np.float64]  # (M, n_0)
    labels_test: NDArray[np.intp]  # (M,)

    def __post_init__(self) -> None:
        for x, labels in ((self.x_train, self.labels_train), (self.x_test, self.labels_test)):
            check_examples(x, one_hot(labels))
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise UserError(
                f"{self.name}: expected test images of {self.x_train.shape[1]} numbers as those to train on, "
                f"found {self.x_test.shape[1]}"
            )


def one_hot(labels: Array, classes: int = CLASSES, dtype: DTypeLike = np.float64) -> Array:
    """Return the outputs that are wanted for `labels` (N,): an array (N, classes), 1 at the label and 0 elsewhere.

    Raises UserError, with the count and the first position, if labels are out of range.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels: expected integers of shape (examples,), found {labels.dtype} of shape {labels.shape}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise UserError(_out_of_range(labels, wrong, classes))
    return np.eye(classes, dtype=dtype)[labels]


def check_examples(x: Array, y: Array) -> None:
    """Check inputs `x` (N, n_0) and wanted outputs `y` (N, n_L).

    Raises UserError if there are none, shapes do not fit, or a number is NaN or infinite.
    """
    for name, array in (("x", x), ("y", y)):
        if array.ndim != 2 or 0 in array.shape:
            raise UserError(f"{name}: expected shape (examples, units), found {array.shape}; rows are examples")
        finite = np.isfinite(array)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise UserError(
                f"{name}: expected finite numbers, found {array.size - np.count_nonzero(finite)} that are not, "
                f"the first one {array[row, column]} in row {row}, column {column}"
            )
    if len(x) != len(y):
        raise UserError(f"x and y: expected as many examples in both, found {len(x)} and {len(y)}")


def load(source: str | Path | None = None) -> Dataset:
    """Return the data set that `source` names.

    "digits"; "mnist", in the user's cache, where `fetch` puts it; or a folder with the four files of MNIST, each with
    or without .gz. None: the folder in the environment variable BACKPROP_MNIST, or the digits where it is not set.
    Raises UserError if MNIST is not there, or is not MNIST byte for byte.
    """
    source = source or os.environ.get(ENVIRONMENT) or "digits"
    if source == "digits":
        return _load_digits()
    return _load_mnist(cache_folder() if source == "mnist" else Path(source))


def cache_folder() -> Path:
    """Return the folder in the user's cache where `fetch` puts MNIST."""
    return Path(pooch.os_cache("backprop-bench")) / "mnist"


def read_idx(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Return the array in an IDX file of unsigned bytes, and the SHA-256 of the decompressed file.

    A file whose name ends in .gz is decompressed. The format is two zero bytes, the type (8), the number of dimensions,
    each dimension as a big-endian 32-bit number, and the bytes, last dimension fastest.
    Raises UserError that says what was expected and found if the file is anything else.
    """
    try:
        content = _read(path)
        return _parse_idx(content), hashlib.sha256(content).hexdigest()
    except ValueError as error:
        raise _bad_file(path, str(error)) from error


def fetch(
    folder: Path | None = None,
    mirrors: Sequence[str] = MIRRORS,
    time_out_seconds: float = 30.0,
    console: Console | None = None,
) -> Path:
    """Download the files of MNIST that are not yet in `folder` (None: the user's cache) and return the folder.

    `mirrors` are base addresses, tried in turn, ROUNDS times; `time_out_seconds` is how long a server may be silent.
    A file appears in the folder whole and checked, or not at all. Progress goes to `console` (None: standard error),
    as a bar on a terminal and as plain lines elsewhere.
    Raises UserError if a file cannot be had from any mirror or the folder cannot be written to.
    """
    folder = folder or cache_folder()
    console = console or Console(stderr=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary,
            Progress(
                *Progress.get_default_columns(),
                DownloadColumn(),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            ) as progress,
        ):
            for name in SHA256:
                if _is_good(folder, name):
                    _say(console, f"{name}: already there")
                    continue
                part = Path(temporary) / f"{name}.gz"
                _download(name, part, mirrors, time_out_seconds, progress)
                part.replace(folder / part.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from error
    return folder


def _load_digits() -> Dataset:
    """Return scikit-learn's digits: each pixel, 0 to 16, repeated 3 x 3, and a border of 2, to fill 28 x 28."""
    from sklearn.datasets import load_digits  # takes a second

    small, labels = load_digits(return_X_y=True)  # (1797, 64), (1797,)
    images = small.reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2) / 16  # (1797, 24, 24)
    x = np.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(-1, PIXELS**2)  # (1797, 784)
    train, test = slice(DIGITS_TO_TRAIN), slice(DIGITS_TO_TRAIN, None)
    return Dataset("digits", x[train], labels[train], x[test], labels[test])


def _load_mnist(folder: Path) -> Dataset:
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with the files of MNIST, found none; {_remedy(folder)}")
    images, labels = _read_part(folder, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    images_test, labels_test = _read_part(folder, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return Dataset(
        "mnist",
        # 256, not 255: so are the numbers in the book's mnist.pkl.gz, and its results were made with them
        images[:MNIST_TO_TRAIN] / 256,
        labels[:MNIST_TO_TRAIN],
        images_test / 256,
        labels_test,
    )


def _read_part(folder: Path, images_name: str, labels_name: str) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the images (N, 784) and the labels (N,) of one half of MNIST.

    What is wrong with a file is looked for from the general to the particular, its SHA-256 last of all.
    """
    images_path, labels_path = _find(folder, images_name), _find(folder, labels_name)
    images, images_sha256 = read_idx(images_path)  # (N, 28, 28)
    labels, labels_sha256 = read_idx(labels_path)  # (N,)
    if images.ndim != 3 or images.shape[1:] != (PIXELS, PIXELS):
        raise _bad_file(images_path, f"expected shape (images, {PIXELS}, {PIXELS}), found {images.shape}")
    if labels.shape != images.shape[:1]:
        raise _bad_file(labels_path, f"expected shape {images.shape[:1]}, a label for each image, found {labels.shape}")
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise _bad_file(labels_path, _out_of_range(labels, wrong, CLASSES))
    for path, name, found in ((images_path, images_name, images_sha256), (labels_path, labels_name, labels_sha256)):
        if found != SHA256[name]:
            raise _bad_file(path, _altered(name, found))
    return images.reshape(-1, PIXELS**2), labels.astype(np.intp)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"{folder}: expected {name}.gz or {name}, found neither; {_remedy(folder)}")


def _remedy(folder: Path) -> str:
    option = "" if folder == cache_folder() else f" --to {folder}"
    return f"download it with: backprop data fetch{option}"


def _bad_file(path: Path, fault: str) -> UserError:
    return UserError(f"{path}: {fault}; {_remedy(path.parent)}")


def _read(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in .gz. Raises ValueError if it cannot be."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise ValueError(f"expected a whole gzip file, found one truncated after {len(content):,} bytes") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"expected a gzip file, found something else or damage: {error}") from error


def _parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array that an IDX file holds, read-only. Raises ValueError if it is not one of unsigned bytes."""
    if content[:3] != b"\x00\x00\x08" or len(content) < 4:
        found_magic = content[:4].hex(" ") or "nothing"
        raise ValueError(f"expected the magic number of an IDX file of bytes, 00 00 08 .., found {found_magic}")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(f"expected a header of {start} bytes, found {len(content)} bytes: truncated")
    shape = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).tolist())
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        fault = "truncated" if found < expected else "bytes left over"
        raise ValueError(f"expected {expected:,} bytes for shape {shape}, found {found:,}: {fault}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _out_of_range(labels: Array, wrong: NDArray[np.intp], classes: int) -> str:
    return (
        f"expected labels 0 to {classes - 1}, found {wrong.size} out of range, "
        f"the first one {labels[wrong[0]]} at position {wrong[0]}"
    )


def _altered(name: str, found: str) -> str:
    return f"expected content with SHA-256 {SHA256[name]}, found {found}: altered, or not MNIST"


def _is_good(folder: Path, name: str) -> bool:
    try:
        return read_idx(_find(folder, name))[1] == SHA256[name]
    except UserError:
        return False


def _download(name: str, path: Path, mirrors: Sequence[str], time_out_seconds: float, progress: Progress) -> None:
    """Download one file to `path` and check it, from the first mirror that has it."""
    bar = _Bar(progress, name)
    download = pooch.HTTPDownloader(
        progressbar=bar, chunk_size=1 << 16, timeout=time_out_seconds, headers={"Accept-Encoding": "identity"}
    )
    failures = {}
    for attempt in range(ROUNDS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{name}.gz"
            if progress.disable:
                _say(progress.console, f"downloading {url}")
            try:
                download(url, str(path), None)
                found = hashlib.sha256(_read(path)).hexdigest()
                if found == SHA256[name]:
                    return
                failures[url] = _altered(name, found)
            except (RequestException, ValueError) as error:
                failures[url] = _reason(error)
            _say(progress.console, f"{url}: {failures[url]}")
    tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
    raise UserError(
        f"{name}.gz: no mirror has it ({tried}); try again later, or get the four files by hand and name their folder "
        "with --data"
    )


def _reason(error: Exception) -> str:
    """Return in a few words why a download failed; what requests says runs over several lines."""
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, Timeout):
        return "no answer in time"
    if isinstance(error, BrokenConnection | ChunkedEncodingError):
        return "no connection, or it broke off"
    return str(error)


class _Bar:
    """What pooch asks of a progress bar, drawn by rich."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task(name, total=None)

    def _start(self, total: int) -> None:
        self._progress.reset(self._task, total=total or None)

    total = property(fset=_start, doc="The bytes to come, 0 if they are not known; setting it starts the bar again.")

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        """Leave the bar as it is."""


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
