"""Standard output and standard error as something that no work depends on.

Whoever reads the output of a run may leave in the middle (`backprop bench | head`), the disk that it goes to may be
full, and it may be closed from the start. What is written then is dropped, and the run goes on.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Output:
    """A stream for text that takes any letter, and drops what cannot be written."""

    def __init__(self, stream: Any) -> None:
        """Take a stream, None for one that is closed."""
        self._stream = stream or Path(os.devnull).open("w")  # noqa: SIM115 (until this process ends)
        self._stream.reconfigure(errors="backslashreplace")  # Letters that the encoding lacks are \\xb5 and the like.
        self.error: OSError | None = None  # the first one

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            self._stream.write(text)
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
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def standard_output() -> Generator[Output]:
    """Put both streams in the place of the standard ones; give that of standard output."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:  # This takes the place of a stream that is closed, …
        os.set_inheritable(lowest, True)  # … which the next file to be opened would take.
    os.close(lowest)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = output, errors = Output(sys.stdout), Output(sys.stderr)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
