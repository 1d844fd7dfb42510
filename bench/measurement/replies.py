"""Lines from a pipe, each waited for no longer than one likes."""

import os
import queue
import select
import threading
import time
from typing import IO, Protocol

LONGEST = 16 << 20  # bytes of a line


class Chunks(Protocol):
    """What comes out of a pipe, in pieces as they come."""

    def next(self, seconds: float) -> bytes | None:
        """Return the next piece, b"" at the end of the pipe; None if there is none within so many seconds."""


class Selected:
    """The pieces, by asking the system whether there is one."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Raise OSError where the system cannot be asked that of a pipe: on Windows."""
        self._pipe = pipe
        select.select([pipe], [], [], 0)

    def next(self, seconds: float) -> bytes | None:
        """See `Chunks`."""
        ready = select.select([self._pipe], [], [], seconds)[0]
        return os.read(self._pipe.fileno(), 1 << 20) if ready else None


class Awaited:
    """The pieces, by a thread that waits for each."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # The thread has a descriptor of its own: the pipe's may be closed meanwhile and its number be another file's.
        descriptor = os.dup(pipe.fileno())
        threading.Thread(target=self._read, args=(descriptor,), daemon=True).start()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            piece = b"any"
            while piece:
                piece = pipe.read(1 << 20)
                self._pieces.put(piece)

    def next(self, seconds: float) -> bytes | None:
        """See `Chunks`."""
        try:
            return self._pieces.get(timeout=seconds)
        except queue.Empty:
            return None


class Replies:
    """The lines that come out of a pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._chunks: Chunks
        try:
            self._chunks = Selected(pipe)
        except OSError:
            self._chunks = Awaited(pipe)
        self._pending = bytearray()
        self._ended = False

    def next(self, seconds: float) -> bytes | None:
        """Return the next line; at the pipe's end, what stands there without a line end; None if it takes longer.

        Of a line that is too long, return the first `LONGEST` bytes or more.
        """
        deadline = time.monotonic() + seconds
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0 and not self._ended and len(self._pending) < LONGEST:
            searched = len(self._pending)
            remaining = deadline - time.monotonic()
            chunk = self._chunks.next(remaining) if remaining > 0 else None
            if chunk is None:
                return None
            self._pending += chunk
            self._ended = not chunk
        length = end + 1 or len(self._pending)
        line = bytes(self._pending[:length])
        del self._pending[:length]
        return line

    def rest(self, seconds: float) -> bytes:
        """Return all that still comes within so many seconds."""
        lines = []
        deadline = time.monotonic() + seconds
        while line := self.next(max(0.0, deadline - time.monotonic())):
            lines.append(line)
        return b"".join(lines)


def waiting(pipe: IO[bytes]) -> bool:
    """Return whether there is something to read; False where the system cannot be asked that of a pipe: on Windows."""
    try:
        return bool(select.select([pipe], [], [], 0)[0])
    except OSError:
        return False
