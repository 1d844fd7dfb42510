"""What is shown of an exception: one line with the place of the fault, the frames, the whole traceback.

One rule says which place that is: the innermost frame outside of installed packages, of the standard library and of
the harness. An implementation that is itself an installed package has no such frame; then it is its package's.
"""

import os
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

from impls import ROOT
from impls.support.errors import UserError
from impls.support.text import one_line, printable_lines

HARNESS_FILES = tuple(
    ROOT / name for name in ("bench", "profiles", "impls/conformance", "impls/registry.py", "impls/support/loading.py")
)
# They call implementations and are called by them: the standard library and the contract.
BETWEEN_FILES = (Path(os.__file__).parent, ROOT / "impls" / "interface.py")
PACKAGE_FOLDERS = ("site-packages", "dist-packages")
OUTSIDE, HARNESS, BETWEEN = "outside of packages", "harness", "between"  # owners of files

MAX_MESSAGE = 250  # letters of a message in one line: the place after it is never cut off
MAX_CAUSES = 100
MAX_FRAMES = 10
FIRST_LINES, MAX_LINES = 12, 40  # of a long traceback, whose middle is left out
MAX_WIDTH = 200  # letters of each line


def in_words(error: BaseException) -> str:
    """Return an exception in one line: `RuntimeError: the step failed, caused by IndexError: list index … (net.py:3)`.

    Of several causes the last is named; the place is that where it was raised. A UserError is its message alone.
    """
    if isinstance(error, UserError):
        return one_line(str(error))
    messages = dict.fromkeys(_message(exception) for exception in (error, _with_causes(error)[-1]))
    place = "".join(f" ({_place(frame)})" for frame in _frames_to_show(error)[-1:])
    return one_line(", caused by ".join(messages) + place)


def frames(error: BaseException) -> tuple[str, ...]:
    """Return the implementation's last frames, innermost last: `net.py:3, in backward: return a[3]`."""
    shown = _frames_to_show(error)[-MAX_FRAMES:]
    return tuple(one_line(f"{_place(frame)}, in {frame.name}: {frame.line}") for frame in shown)


def whole(error: BaseException) -> str:
    """Return the traceback with causes and notes in printable lines, without the harness's frames at its front.

    Of a long one, the first and the last lines are kept.
    """
    start: TracebackType | None = error.__traceback__
    while start and start.tb_next and _owner(start.tb_frame.f_code.co_filename) in (HARNESS, BETWEEN):
        start = start.tb_next
    text = "".join(traceback.format_exception(type(error), error, start))
    return shortened(text.splitlines())


def shortened(lines: Sequence[str]) -> str:
    """Return the first and the last of many lines, none of them too long, in printable letters."""
    if len(lines) > MAX_LINES:
        end = len(lines) - (MAX_LINES - FIRST_LINES - 1)
        lines = [*lines[:FIRST_LINES], f"  … {end - FIRST_LINES} lines are left out …", *lines[end:]]
    return printable_lines("\n".join(line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]}…" for line in lines))


def _message(error: BaseException) -> str:
    """Return an exception's type and message in one line."""
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)  # str(SyntaxError) repeats the place
    except Exception as failure:
        text = f"its message cannot be read: {type(failure).__name__}"
    message = one_line(text[: 4 * MAX_MESSAGE]) or "no message"
    return f"{type(error).__name__}: {message[:MAX_MESSAGE]}{'…' * (len(message) > MAX_MESSAGE)}"


def _place(frame: traceback.FrameSummary) -> str:
    """Return the file's name and the line; of an `__init__.py`, the folder's name, too."""
    path = Path(frame.filename)
    name = f"{path.parent.name}/{path.name}" if path.name == "__init__.py" else path.name
    return f"{name}:{frame.lineno}"


def _with_causes(error: BaseException) -> list[BaseException]:
    """Return an exception, what it was raised from, and so on."""
    chain = [error]
    while len(chain) < MAX_CAUSES:
        cause = chain[-1].__cause__
        if cause is None or cause.__traceback__ is None:  # one that was never raised has no place
            break
        chain.append(cause)
    return chain


def _frames_to_show(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the implementation's frames, innermost last: of the last cause that has any.

    Without any, those of the installed package that the harness called, or else the harness's.
    """
    tracebacks = [_extracted(exception) for exception in _with_causes(error)]
    for owner in (OUTSIDE, _called(tracebacks[0])):
        for extracted in reversed(tracebacks):
            shown = [frame for frame in extracted if _owner(frame.filename) == owner]
            if shown:
                return shown
    return []


def _called(extracted: Sequence[traceback.FrameSummary]) -> str:
    """Return the owner of the first frame after the harness's last one, HARNESS if there is none."""
    called = HARNESS
    for owner in (_owner(frame.filename) for frame in extracted):
        if owner == HARNESS or (called == HARNESS and owner != BETWEEN):
            called = owner
    return called


def _extracted(error: BaseException) -> list[traceback.FrameSummary]:
    """Return all frames of an exception; the last one of a SyntaxError is the line that cannot be parsed."""
    extracted = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        extracted.append(traceback.FrameSummary(error.filename, error.lineno, "<module>", line=error.text or ""))
    return extracted


@cache
def _owner(filename: str) -> str:
    """Return whose code a file is: OUTSIDE, HARNESS, BETWEEN, or the folder of the installed package that it is in."""
    path = Path(filename)
    for folder in PACKAGE_FOLDERS:
        if folder in path.parts:
            return str(Path(*path.parts[: path.parts.index(folder) + 2]))
    if filename.startswith("<") or any(map(path.is_relative_to, BETWEEN_FILES)):  # <frozen runpy>, <string>
        return BETWEEN
    return HARNESS if any(map(path.is_relative_to, HARNESS_FILES)) else OUTSIDE
