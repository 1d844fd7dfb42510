"""Files that are written whole or not at all, and folders that are gone with this process, however it ends."""

import atexit
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from impls.support.errors import UserError

# Waits for the end of its input, which comes even if the other process is killed.
REMOVE = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, making its folder if need be. Raises UserError if it cannot be written.

    The temporary file beside it has a name that nobody can guess and is made by this call alone, so that no link in a
    shared folder is followed.
    """
    _check_replaceable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise UserError if files cannot be written to a folder: better before a run than after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_be_written(folder, error) from error


def check_file(path: Path) -> None:
    """Raise UserError if a file cannot be written: better before hours of work than after them."""
    _check_replaceable(path)
    check_writable(path.parent)


def _check_replaceable(path: Path) -> None:
    """Raise UserError if something stands there that is no file, such as a device: a file would take its place."""
    try:
        replaceable = path.is_file() or not path.exists()
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    if not replaceable:
        raise UserError(f"{path}: cannot be written: expected a file or nothing there; choose another place")


def _cannot_be_written(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written: {error.strerror}; choose another place")


def start_watcher(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    """Start a bare Python with these arguments; its input ends when this process does. Raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends this process by its group or its terminal does not end that one
    )


@contextmanager
def temporary_folder() -> Generator[Path]:
    """Give an empty folder where the system has temporary files.

    A process of its own removes it when this one leaves it or ends. Raises UserError if there is no room for the folder
    or that process.
    """
    try:
        folder = Path(tempfile.gettempdir()).absolute() / f"backprop-bench-{secrets.token_hex(8)}"
        remover = start_watcher("-c", REMOVE, folder)
    except OSError as error:
        raise UserError(f"no temporary folder can be made: {error.strerror or error}") from error
    try:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise UserError(f"no temporary folder can be made in {folder.parent}: {error.strerror}") from error
        yield folder
    finally:
        remover.communicate()
        shutil.rmtree(folder, ignore_errors=True)  # something else may have ended the remover


@cache
def folder_of_workers() -> Path:
    """Return the folder for the temporary files of all workers of this process, gone with it. Raises UserError."""
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    return until_the_end.enter_context(temporary_folder())
