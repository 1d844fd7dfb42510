"""Lines from a pipe, each waited for no longer than one likes."""

import os
import queue
import select
import threading
import time
from typing import IO

LONGEST = 16 << 20  # bytes of a line


class Replies:
    """The lines that come out of a pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._pending = bytearray()
        self._ended = False
        self._pieces: queue.SimpleQueue[bytes] | None = None
        try:
            select.select([pipe], [], [], 0)
        except OSError:  # Windows cannot be asked that of a pipe.
            self._pieces = _read_by_a_thread(pipe)

    def next(self, seconds: float) -> bytes | None:
        """Return the next line; at the pipe's end, what stands there without a line end; None if it takes longer.

        Of a line that is too long, return the first `LONGEST` bytes or more.
        """
        deadline = time.monotonic() + seconds
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0 and not self._ended and len(self._pending) < LONGEST:
            searched = len(self._pending)
            remaining = deadline - time.monotonic()
            piece = self._piece(remaining) if remaining > 0 else None
            if piece is None:
                return None
            self._pending += piece
            self._ended = not piece
        length = end + 1 or len(self._pending)
        line = bytes(self._pending[:length])
        del self._pending[:length]
        return line

    def _piece(self, seconds: float) -> bytes | None:
        """Return what comes next, b"" at the end of the pipe; None if nothing comes within so many seconds."""
        if self._pieces is None:
            ready = select.select([self._pipe], [], [], seconds)[0]
            return os.read(self._pipe.fileno(), 1 << 20) if ready else None
        try:
            return self._pieces.get(timeout=seconds)
        except queue.Empty:
            return None


def _read_by_a_thread(pipe: IO[bytes]) -> "queue.SimpleQueue[bytes]":
    """Return a queue that a thread fills with what comes out of a pipe, b"" at its end."""
    pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    descriptor = os.dup(pipe.fileno())  # The pipe's own may be closed meanwhile, and its number be another file's.

    def read() -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as duplicate:
            while piece := duplicate.read(1 << 20):
                pieces.put(piece)
        pieces.put(b"")

    threading.Thread(target=read, daemon=True).start()
    return pieces


def waiting(pipe: IO[bytes]) -> bool:
    """Return whether there is something to read; False where the system cannot be asked that of a pipe: on Windows."""
    try:
        return bool(select.select([pipe], [], [], 0)[0])
    except OSError:
        return False
