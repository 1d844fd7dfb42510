"""Standard output and standard error as something that no work depends on.

Whoever reads the output of a run may leave in the middle (`backprop bench | head`), the disk that it goes to may be
full, and it may be closed from the start. What is written then is dropped, and the run goes on.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


class Output:
    """A stream for text that takes any letter, and drops what cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None  # the first one

    def write(self, text: str) -> int:
        """Write a text, or drop it; letters that the stream's encoding lacks as \\xb5 and the like."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is pending, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error: OSError) -> None:
        """Have all that comes go nowhere, what is still pending, too."""
        self.error = self.error or error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def standard_output() -> Generator[Output]:
    """Put both streams in the place of the standard ones; give that of standard output."""
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    out, errors = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = out, errors
    try:
        yield out
    finally:
        out.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


def _open_what_is_closed() -> None:
    """Open standard streams that are closed: the next files to be opened would take their places."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 (until this process ends)
