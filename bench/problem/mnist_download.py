"""The download of MNIST, to the user's cache or to a folder, where nothing is ever replaced.

The compressed files of the mirrors are known by their SHA-256, which is checked before anything is decompressed.
"""

import os
from collections.abc import Mapping, Sequence
from multiprocessing import TimeoutError as NotFinished
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import pooch
from requests import ConnectionError as BrokenConnection
from requests import HTTPError, RequestException, Timeout
from requests.exceptions import ChunkedEncodingError
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from bench.problem.mnist import OtherFile, cache_folder, examine, search_folder
from bench.temporary import folder_of_this_process
from impls.errors import UserError

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
    Nothing that is in the folder is ever replaced.
    Raises UserError if something else has the name of a file that is missing, before anything is downloaded; if a file
    cannot be had from any mirror, or the folder cannot be written to.
    """
    folder = folder or cache_folder()
    console = console or Console(stderr=True)
    pooch.get_logger().setLevel("WARNING")  # its lines name a temporary folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        search = search_folder(folder)
        for path in (folder / file for name in search.missing for file in (f"{name}.gz", name)):
            if os.path.lexists(path):
                raise _not_replaced(path)
        with Progress(
            *Progress.get_default_columns(),
            DownloadColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            for mnist_file in search.mnist_files.values():
                _say(console, f"{mnist_file.name}: already there, {mnist_file.path}")
            for file in (f"{name}.gz" for name in search.missing):
                _download(file, registry[file], folder, mirrors, time_out_seconds, limit_seconds, progress)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}; choose another folder") from error
    return folder


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
                _place(part, folder / file)
                return
        except (RequestException, NotFinished, ValueError) as error:
            failures[url] = _reason(error.with_traceback(None))  # which would keep the connection open
        _say(progress.console, f"{url}: {failures[url]}")
    tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
    raise UserError(
        f"{file}: no mirror has it ({tried}); try again later, or get the four files by hand and name their folder "
        "with --data"
    )


def _place(downloaded: Path, path: Path) -> None:
    """Give a downloaded file its name, unless something has that name by now.

    Raises UserError if that is not the same file, placed by another process.
    """
    try:
        try:
            os.link(downloaded, path)  # unlike a renaming, fails if there is something
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            path.open("xb").close()
            downloaded.replace(path)
    except FileExistsError:
        file = examine(path)
        if isinstance(file, OtherFile) or f"{file.name}.gz" != path.name:
            raise _not_replaced(path) from None


def _not_replaced(path: Path) -> UserError:
    file = examine(path)
    found = file.description if isinstance(file, OtherFile) else f"MNIST's {file.name}"
    return UserError(
        f"{path}: expected nothing there or MNIST's file of that name, found {found}, which is not replaced; "
        "choose another folder with --to, or remove it"
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
