"""MNIST: the four IDX files, read from a folder and checked, or downloaded to one; never a pickle.

`fetch` knows the compressed files of its mirrors by their SHA-256, which is checked before anything is decompressed.
`read` takes files from anywhere, compressed or not: it never decompresses more than the known size of a file, and
checks the SHA-256 of the content, because the same content can be compressed in many ways.
"""

import gzip
import hashlib
import math
import shlex
import zlib
from collections.abc import Mapping, Sequence
from multiprocessing import TimeoutError as NotFinished
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
from numpy.typing import NDArray
from requests import ConnectionError as BrokenConnection
from requests import HTTPError, RequestException, Timeout
from requests.exceptions import ChunkedEncodingError
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from bench.problem.data import ENVIRONMENT
from bench.problem.dataset import PIXELS, one_hot
from bench.temporary import folder_of_this_process
from impls.errors import UserError
from impls.needs import backprop_command

CONTENT = {  # of the four files: bytes, SHA-256
    "train-images-idx3-ubyte": (47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
REGISTRY = {  # SHA-256 of the compressed files on the mirrors, as published by TensorFlow Datasets
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def cache_folder() -> Path:
    """Return the folder in the user's cache where `fetch` puts MNIST."""
    return Path(pooch.os_cache("backprop-bench")) / "mnist"


def read(folder: Path) -> tuple[tuple[NDArray[np.uint8], NDArray[np.intp]], tuple[NDArray[np.uint8], NDArray[np.intp]]]:
    """Return the images (N, 784), 0 to 255, and the labels (N,), 0 to 9, to train on, and those to test on.

    Each of the four files may have .gz at the end of its name or not.
    Raises UserError if a file is not there, or is not MNIST byte for byte.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with the files of MNIST, found none; {_remedy(folder)}")
    return (
        _read_part(folder, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        _read_part(folder, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    )


def read_idx(path: Path, largest: int) -> tuple[NDArray[np.uint8], str]:
    """Return the array in an IDX file of unsigned bytes, and the SHA-256 of the decompressed file.

    A file whose name ends in .gz is decompressed, but never more than `largest` bytes of content and one. The format is
    two zero bytes, the type (8), the number of dimensions, each dimension as a big-endian 32-bit number, and the bytes,
    last dimension fastest.
    Raises UserError that says what was expected and found if the file is anything else or larger.
    """
    try:
        content = _read(path, largest + 1)
        if len(content) > largest:
            raise ValueError(f"expected at most {largest:,} bytes of content, found more: not MNIST")
        return _parse_idx(content), hashlib.sha256(content).hexdigest()
    except ValueError as error:
        raise _bad_file(path, str(error)) from error


def fetch(
    folder: Path | None = None,
    mirrors: Sequence[str] = MIRRORS,
    registry: Mapping[str, str] = REGISTRY,
    time_out_seconds: float = 30.0,
    limit_seconds: float = 600.0,
    console: Console | None = None,
) -> Path:
    """Download the files of MNIST that are not yet in `folder` (None: the user's cache) and return the folder.

    `mirrors` are base addresses, tried in turn, twice each; `registry` has the SHA-256 of their compressed files.
    `time_out_seconds` is how long a server may be silent, `limit_seconds` how long a mirror may take for one file.
    A file appears in the folder whole and checked, or not at all. Progress goes to `console` (None: standard error),
    as a bar on a terminal and as plain lines elsewhere.
    Raises UserError if a file cannot be had from any mirror or the folder cannot be written to.
    """
    folder = folder or cache_folder()
    console = console or Console(stderr=True)
    pooch.get_logger().setLevel("WARNING")  # its lines name a temporary folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Progress(
            *Progress.get_default_columns(),
            DownloadColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            for name in CONTENT:
                if _is_good(folder, name):
                    _say(console, f"{name}: already there")
                else:
                    file = f"{name}.gz"
                    _download(file, registry[file], folder, mirrors, time_out_seconds, limit_seconds, progress)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}; choose another folder") from error
    return folder


def _read_part(folder: Path, images_name: str, labels_name: str) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the images (N, 784) and the labels (N,) of one half of MNIST.

    What is wrong with a file is looked for from the general to the particular, its SHA-256 last of all.
    """
    images_path, labels_path = _find(folder, images_name), _find(folder, labels_name)
    images, images_sha256 = read_idx(images_path, CONTENT[images_name][0])  # (N, 28, 28)
    labels, labels_sha256 = read_idx(labels_path, CONTENT[labels_name][0])  # (N,)
    if images.ndim != 3 or images.shape[1:] != (PIXELS, PIXELS):
        raise _bad_file(images_path, f"expected shape (images, {PIXELS}, {PIXELS}), found {images.shape}")
    if labels.shape != images.shape[:1]:
        raise _bad_file(labels_path, f"expected shape {images.shape[:1]}, a label for each image, found {labels.shape}")
    try:
        one_hot(labels)
    except UserError as error:
        raise _bad_file(labels_path, str(error)) from error
    for path, name, found in ((images_path, images_name, images_sha256), (labels_path, labels_name, labels_sha256)):
        expected = CONTENT[name][1]
        if found != expected:
            fault = f"expected content with SHA-256 {expected}, found {found}: altered, or not MNIST"
            raise _bad_file(path, fault)
    return images.reshape(-1, PIXELS**2), labels.astype(np.intp)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"{folder}: expected {name}.gz or {name}, found neither; {_remedy(folder)}")


def _remedy(folder: Path) -> str:
    if folder == cache_folder():
        return f"download it with: {backprop_command('data fetch')}; or name a folder that has it in {ENVIRONMENT}"
    return f"download it with: {backprop_command(f'data fetch --to {shlex.quote(str(folder))}')}"


def _bad_file(path: Path, fault: str) -> UserError:
    return UserError(f"{path}: {fault}; {_remedy(path.parent)}")


def _read(path: Path, size: int) -> bytes:
    """Return the first `size` bytes of a file's content, which is decompressed if the file's name ends in .gz.

    Raises ValueError if it cannot be decompressed.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(size)
    except EOFError as error:
        found = f"one truncated after {path.stat().st_size:,} bytes"
        raise ValueError(f"expected a whole gzip file, found {found}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"expected a gzip file, found something else or damage: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


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


def _is_good(folder: Path, name: str) -> bool:
    size, sha256 = CONTENT[name]
    try:
        return read_idx(_find(folder, name), size)[1] == sha256
    except UserError:
        return False


def _download(
    file: str,
    sha256: str,
    folder: Path,
    mirrors: Sequence[str],
    time_out_seconds: float,
    limit_seconds: float,
    progress: Progress,
) -> None:
    """Download one file to `folder`, from the first mirror that has it with this SHA-256."""
    task = progress.add_task(file, total=None)
    bar: SimpleNamespace = SimpleNamespace(  # what pooch asks of a progress bar
        total=0,
        update=lambda size: progress.update(task, total=bar.total or None, advance=size),
        reset=lambda: progress.reset(task),
        close=lambda: None,
    )
    download = pooch.HTTPDownloader(
        progressbar=bar, chunk_size=1 << 16, timeout=time_out_seconds, headers={"Accept-Encoding": "identity"}
    )
    failures = {}
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file}"
        if progress.disable:
            _say(progress.console, f"downloading {url}")
        progress.reset(task)
        try:
            # a server that drips never runs into the time-out: its thread is left behind, maybe with a file open
            with (
                folder_of_this_process(".fetch-", folder) as temporary,
                ThreadPool(1) as pool,
            ):
                pup = pooch.create(temporary, mirror, registry={file: sha256}, retry_if_failed=1)
                part = Path(pool.apply_async(pup.fetch, (file,), {"downloader": download}).get(limit_seconds))
                part.chmod(0o644)  # pooch's files are for their owner only
                part.replace(folder / file)
                return
        except (RequestException, NotFinished, ValueError) as error:
            failures[url] = _reason(error.with_traceback(None))  # which would keep the connection open
        _say(progress.console, f"{url}: {failures[url]}")
    tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
    raise UserError(
        f"{file}: no mirror has it ({tried}); try again later, or get the four files by hand and name their folder "
        "with --data"
    )


def _reason(error: Exception) -> str:
    """Return in a few words why a download failed; what requests says runs over several lines."""
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, Timeout):
        return "no answer in time"
    if isinstance(error, NotFinished):
        return "not finished in time"
    if isinstance(error, BrokenConnection | ChunkedEncodingError):
        return "no connection, or it broke off"
    return str(error).partition(". ")[0]  # of pooch's four sentences on a wrong SHA-256, the one that has both


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
