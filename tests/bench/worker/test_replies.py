"""Lines from a pipe: in pieces, late, cut off; by asking the system and by a thread, as on Windows."""

import os
import threading
from collections.abc import Generator
from typing import IO

import pytest

from bench.worker import replies
from bench.worker.replies import Replies


@pytest.fixture(params=["the system is asked", "a thread waits"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[IO[bytes], int]]:
    """The end of a pipe to read from, and that to write to."""
    if request.param == "a thread waits":

        def refuse(*_files: object) -> None:
            raise OSError(10038, "An operation was attempted on something that is not a socket")

        monkeypatch.setattr("select.select", refuse)
    out, into = os.pipe()
    with os.fdopen(out, "rb", buffering=0) as file:
        yield file, into


def test_lines_come_one_by_one(ends: tuple[IO[bytes], int]) -> None:
    pipe, into = ends
    lines = Replies(pipe)
    os.write(into, b"one\ntwo\nthr")
    assert [lines.next(5.0), lines.next(5.0)] == [b"one\n", b"two\n"]
    os.write(into, b"ee\n")
    assert lines.next(5.0) == b"three\n"
    os.write(into, b"unfinish")
    os.close(into)
    assert [lines.next(5.0), lines.next(5.0), lines.next(5.0)] == [b"unfinish", b"", b""]


def test_a_late_line_is_waited_for_and_no_longer(ends: tuple[IO[bytes], int]) -> None:
    pipe, into = ends
    lines = Replies(pipe)
    assert lines.next(0.0) is None
    os.write(into, b"begun ")
    assert lines.next(0.05) is None
    threading.Timer(0.05, os.write, (into, b"and ended\n")).start()
    assert lines.next(60.0) == b"begun and ended\n"
    os.close(into)


def test_a_long_line_is_whole_and_one_that_does_not_end_is_cut(
    ends: tuple[IO[bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, into = ends
    lines = Replies(pipe)
    line = os.urandom(3 << 20).replace(b"\n", b" ") + b"\n"
    with os.fdopen(into, "wb", buffering=0) as file:
        writer = threading.Thread(target=file.write, args=(line,))
        writer.start()
        assert lines.next(60.0) == line
        writer.join()
        monkeypatch.setattr(replies, "LONGEST", 1000)
        file.write(b"x" * 1200)
        assert lines.next(5.0) == b"x" * 1200


def test_a_thread_reads_no_file_that_is_opened_later() -> None:
    out, into = os.pipe()
    with os.fdopen(out, "rb", buffering=0) as pipe:
        pieces = replies._read_by_a_thread(pipe)
    another, into_others = os.pipe()
    others = os.dup2(another, out)  # another file has the number now, and the thread still waits
    if another != out:
        os.close(another)
    os.write(into_others, b"not for the thread")
    os.write(into, b"one")
    assert pieces.get(timeout=60.0) == b"one"
    assert os.read(others, 100) == b"not for the thread"
    os.close(into)
    assert pieces.get(timeout=60.0) == b""
    os.close(others)
    os.close(into_others)


def test_whether_something_waits(ends: tuple[IO[bytes], int]) -> None:
    """Nothing does where a pipe cannot be asked."""
    pipe, into = ends
    assert not replies.waiting(pipe)
    os.write(into, b"\n")
    assert replies.waiting(pipe) == (Replies(pipe)._pieces is None)
    os.close(into)
