"""A temporary folder that is gone with this process, however it ends."""

import atexit
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from bench.watcher import start_watcher
from impls.errors import UserError

PREFIX = "backprop-bench-"
# Waits for the end of its input, which comes even if the other process is killed.
REMOVE = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


@contextmanager
def folder_of_this_process(prefix: str = PREFIX, where: Path | None = None) -> Generator[Path]:
    """Give an empty folder in `where`, or where the system has temporary files.

    A process of its own removes the folder when this one leaves it or ends. Raises UserError if there is no room for
    the folder or that process.
    """
    try:
        folder = Path(where or tempfile.gettempdir()).absolute() / f"{prefix}{secrets.token_hex(8)}"
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
    return until_the_end.enter_context(folder_of_this_process())
