"""Collapsed stacks: read them, keep what is the row's own, tell where the time goes.

A line of collapsed stacks is `frame;frame;… count`, the root first. py-spy writes Python frames as
`Class.function (file.py:line)`, native ones as `function (library.so)`, nameless ones as `0x7f… (library.so)`.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from bench.errors import UserError

Stack = tuple[str, ...]

TIMED_LOOP = re.compile(r"^time_calls \(.*worker\.py:\d+\)$")  # the worker's loop: what lies under it is the row's
ADDRESS = re.compile(r"^0x[0-9a-f]+ \((.*)\)$")
PYTHON_FRAME = re.compile(r"^(.*) \(([^()]*\.py):(\d+)\)$")
CATEGORIES = ("BLAS", "NumPy C", "Rust", "JIT", "Python", "other native")
NAMELESS = "[?]"  # code without a name or library: compiled while the program ran
_BLAS = re.compile(r"openblas|mkl_|libmkl|Accelerate|libblis", re.IGNORECASE)
_NUMPY = re.compile(r"_multiarray_umath|numpy/")
_RUST = re.compile(r"backprop_bench_rust|\.rs(:\d+)?\)$")
_COMPILED = re.compile(r"\.main\.(cpp|so)\b")  # by torch.compile, which names its C++ files so
_LIBC = re.compile(r"\blib(c|m|pthread|stdc\+\+)[.-]")  # … whose functions work for those that call them
_WAIT = re.compile(r"futex_?wait|cond_\w*wait|condition_variable::wait|sem_\w*wait|acquire_lock_timed", re.IGNORECASE)
_HASH = re.compile(r"::h[0-9a-f]{16}$")  # ends a Rust name, and changes with every build
_BUILD = re.compile(r"(-[0-9a-f]{8})?(\.cpython-[\w-]+|\.abi3)?\.so\b")  # so do the hash and tag of a library's name
_ESCAPES = {"$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")", "$RF$": "&", "$BP$": "*", "$C$": ",", "$u20$": " ",
            "$u7b$": "{", "$u7d$": "}", "$u5b$": "[", "$u5d$": "]", "..": "::"}  # fmt: skip
_LONGEST = 24  # letters of arguments in a C++ name: templates have pages of them


@dataclass(frozen=True)
class Stacks:
    """Samples of one recording, the row's own frames as roots."""

    counts: Mapping[Stack, int]
    outside: int  # samples that were not within the row: the loop around it
    waiting: int = 0  # samples of threads that waited for others and used no core

    @property
    def samples(self) -> int:
        """Return the samples within the row."""
        return sum(self.counts.values())


class Share(NamedTuple):
    """A share of the samples with its 95 % interval (Wilson's), between 0 and 1."""

    value: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Return half of the interval's width."""
        return (self.high - self.low) / 2


def parse(text: str) -> Counter[Stack]:
    """Return the counts of collapsed stacks; comment lines start with '#'. Raises UserError on anything else."""
    counts: Counter[Stack] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdecimal():
            raise UserError(f"line {number}: expected collapsed stacks 'frame;frame count', found {line[:60]!r}")
        counts[tuple(re.split(r";(?! )", stack))] += int(count)  # Rust's [T; 4] is no boundary
    return counts


def clean(counts: Mapping[Stack, int], row_file: str) -> Stacks:
    """Return the stacks from the row's first frame on; `row_file` is the name of its source file.

    That is the frame under the worker's timed loop or, in a thread that the row started, the first one of its file.
    py-spy means to leave out threads that wait, but takes those for running that it has just let go itself.
    """
    kept: Counter[Stack] = Counter()
    outside = waiting = 0
    for stack, count in counts.items():
        start = _start(stack, row_file)
        if _waits(stack):
            waiting += count
        elif start < len(stack):
            kept[tuple(map(_readable, stack[start:]))] += count
        else:
            outside += count
    return Stacks(kept, outside, waiting)


def _waits(stack: Stack) -> bool:
    """Return whether the innermost function, nameless parts of libc and the system call left aside, is a wait."""
    for frame in reversed(stack):
        if _WAIT.search(frame):
            return True
        if not (_LIBC.search(frame) and (ADDRESS.match(frame) or frame.startswith("syscall "))):
            return False
    return False


def _start(stack: Stack, row_file: str) -> int:
    """Return the index of the row's first frame; the stack's length if it has none."""
    for index, frame in enumerate(stack):
        if TIMED_LOOP.match(frame):
            return index + 1
    for index, frame in enumerate(stack):
        python = PYTHON_FRAME.match(frame)
        if python and PurePath(python[2]).name == row_file:
            return index
    return len(stack)


def _readable(frame: str) -> str:
    """Return a frame without what changes from run to run, tells of this machine or hides the name.

    That is addresses, absolute paths, the hashes of builds, Rust's escapes and long arguments of C++.
    """
    address = ADDRESS.match(frame)
    if address:
        return NAMELESS if address[1] in ("?", "") else f"[{_BUILD.sub('.so', PurePath(address[1]).name)}]"
    name, bracket, place = frame.rpartition(" (")
    if not bracket:
        return frame
    if _HASH.search(name):
        name = _HASH.sub("", name)
        for escape, letter in _ESCAPES.items():
            name = name.replace(escape, letter)
        name = name.removeprefix("_")
    place = PurePath(place).name if place.startswith("/") else place
    return f"{_without_long_arguments(name).replace('; ', ', ')} ({_BUILD.sub('.so', place)}"


def _without_long_arguments(name: str) -> str:
    """Return a name with `…` for what stands between brackets and is long."""
    kept: list[str] = []
    opened: list[int] = []
    for letter in name:
        kept.append(letter)
        if letter in "<(":
            opened.append(len(kept))
        elif letter in ">)" and opened:
            start = opened.pop()
            if len(kept) - start > _LONGEST:
                kept[start:-1] = "…"
    return "".join(kept)


def category(stack: Stack) -> str:
    """Return what kind of code a sample was in.

    Any BLAS frame makes it BLAS: below them even memset is BLAS's. Rust and NumPy's C, too, count with all that they
    call, code compiled at run time with what it calls of libc. A Python function that is nothing but itself is Python.
    """
    if any(_BLAS.search(frame) for frame in stack):
        return "BLAS"
    if any(_RUST.search(frame) for frame in stack):
        return "Rust"
    if any(_NUMPY.search(frame) for frame in stack if ".so" in frame):
        return "NumPy C"
    if any(_COMPILED.search(frame) for frame in stack):
        return "JIT"
    if PYTHON_FRAME.match(stack[-1]):
        return "Python"
    innermost = next((frame for frame in reversed(stack) if not _LIBC.search(frame)), "")
    return "JIT" if innermost == NAMELESS else "other native"


def shares(stacks: Stacks) -> dict[str, Share]:
    """Return the share of each category in the samples within the row."""
    totals: Counter[str] = Counter()
    for stack, count in stacks.counts.items():
        totals[category(stack)] += count
    return {name: wilson(totals[name], stacks.samples) for name in CATEGORIES}


def wilson(count: int, total: int) -> Share:
    """Return the share count / total with Wilson's 95 % score interval. Raises ValueError if there is no sample."""
    if total < 1:
        raise ValueError(f"wilson: expected at least one sample, got {total}")
    z, p = 1.959964, count / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    margin = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Share(p, max(0.0, centre - margin), min(1.0, centre + margin))


def difference(before: Share, after: Share) -> tuple[float, float, float]:
    """Return after - before with its 95 % interval (Newcombe's, from the two Wilson intervals)."""
    change = after.value - before.value
    low = change - math.hypot(after.value - after.low, before.high - before.value)
    high = change + math.hypot(after.high - after.value, before.value - before.low)
    return change, low, high
