"""Files that are written whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from impls.errors import UserError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, making its folder if need be. Raises UserError if it cannot be written.

    The temporary file beside it has a name that nobody can guess and is made by this call alone, so that no link in a
    shared folder is followed.
    """
    data = content.encode() if isinstance(content, str) else content
    _check_replaceable(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise UserError if files cannot be written to a folder: better before a run than after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to: {error.strerror}; choose another place") from error


def check_file(path: Path) -> None:
    """Raise UserError if a file cannot be written: better before hours of work than after them."""
    _check_replaceable(path)
    check_writable(path.parent)


def _check_replaceable(path: Path) -> None:
    """Raise UserError if something stands there that is no file, such as a device: a file would take its place."""
    try:
        fine = path.is_file() or not path.exists()
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    if not fine:
        raise UserError(f"{path}: cannot be written: expected a file or nothing there; choose another place")


def _umask() -> int:
    """Return the process's umask, which the system tells only when it is set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
