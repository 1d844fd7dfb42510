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

from impls.errors import UserError
from profiles.rust_names import demangle

Stack = tuple[str, ...]

TIMED_LOOP = re.compile(r"^time_calls \(.*timing\.py:\d+\)$")  # the worker's loop: what lies under it is the row's
ADDRESS = re.compile(r"^0x[0-9a-f]+ \((.*)\)$")
PYTHON_FRAME = re.compile(r"^(.*) \(([^()]*\.py):(\d+)\)$")
CATEGORIES = ("BLAS", "Rust products", "other Rust", "NumPy C", "JIT", "Python", "other native")
PRODUCTS = ("BLAS", "Rust products")  # the categories of matrix products
Z_95 = 1.959964  # the normal quantile of a two-sided 95 % interval
NAMELESS = "[?]"  # code without a name or library: compiled while the program ran
_BLAS = re.compile(r"openblas|mkl_|libmkl|Accelerate|libblis", re.IGNORECASE)
_NUMPY = re.compile(r"_multiarray_umath|numpy/")
_RUST = re.compile(r"backprop_bench_rust|\.rs(:\d+)?\)$")
_RUST_PRODUCTS = re.compile(r"\b(matrixmultiply|gemm(_common|_f32|_f64)?|fused::products)::|\(products\.rs(:\d+)?\)$")
_FRAMEWORK = re.compile(r"\blib(torch\w*|c10|tensorflow\w*)\.so\b")  # … which are not Rust when Rust calls them
_COMPILED = re.compile(r"\.main\.(cpp|so)\b")  # by torch.compile, which names its C++ files so
_LIBC = re.compile(r"\blib(c|m|pthread|stdc\+\+)[.-]")  # … whose functions work for those that call them
_WAIT = re.compile(r"futex_?wait|cond_\w*wait|condition_variable::wait|sem_\w*wait|acquire_lock_timed", re.IGNORECASE)
_BUILD = re.compile(
    r"(-[0-9a-f]{8})?(\.cpython-[\w-]+|\.abi3)?\.so\b"
)  # a library's hash and tag change with every build
_LONGEST = 24  # letters of arguments in a name of C++ or Rust: templates have pages of them
_LONGEST_TYPE = 60  # … of `<Type as Trait>` and `<impl Trait for Type>`, which say whose method it is
_DEEPEST = 2_000  # frames of a stack


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
    """A share of the samples with its interval (Wilson's, 95 % if nothing else is said), between 0 and 1."""

    value: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Return half of the interval's width."""
        return (self.high - self.low) / 2

    def text(self) -> str:
        """Return the share in per cent with its margin, in whole points, neither rounded to nothing: 49 ± 3, < 1."""
        if round(100 * self.value) == 0:
            return "< 1" if self.value else "0"
        return f"{100 * self.value:.0f} ± {max(1, round(100 * self.margin))}"


def parse(text: str) -> Counter[Stack]:
    """Return the counts of collapsed stacks; comment lines start with '#'. Raises UserError on anything else."""
    counts: Counter[Stack] = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdecimal():
            raise UserError(f"line {number}: expected collapsed stacks 'frame;frame count', found {line[:60]!r}")
        frames = tuple(re.split(r";(?! )", stack))  # Rust's [T; 4] is no boundary
        if len(frames) > _DEEPEST or len(count) > 15:
            raise UserError(f"line {number}: expected at most {_DEEPEST} frames and 15 digits, found more")
        counts[frames] += int(count)
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

    That is addresses, absolute paths, the hashes of builds, Rust's mangling and long arguments of C++ and Rust.
    """
    address = ADDRESS.match(frame)
    if address:
        return NAMELESS if address[1] in ("?", "") else f"[{_BUILD.sub('.so', PurePath(address[1]).name)}]"
    name, bracket, place = frame.rpartition(" (")
    if not bracket:
        return frame
    place = PurePath(place).name if place.startswith("/") else place
    name = _without_long_arguments(demangle(name)).replace("; ", ", ").replace(";", ",")  # stacks are split at ;
    return f"{name} ({_BUILD.sub('.so', place)}"


def _without_long_arguments(name: str) -> str:
    """Return a name in which what stands between brackets has no paths if it is long, and is `…` if it still is."""
    kept: list[str] = []
    opened: list[int] = []
    for letter in name:
        kept.append(letter)
        if letter in "<(":
            opened.append(len(kept))
        elif letter in ">)" and opened and kept[-2:] != ["-", ">"]:
            start = opened.pop()
            kept[start:-1] = _short("".join(kept[start:-1]))
    return "".join(kept)


def _short(arguments: str) -> str:
    if len(arguments) > _LONGEST:
        arguments = re.sub(r"(\w+::)+(?=\w)", "", arguments)
    longest = _LONGEST_TYPE if " as " in arguments or arguments.startswith("impl ") else _LONGEST
    return arguments if len(arguments) <= longest else "…"


def category(stack: Stack) -> str:
    """Return what kind of code a sample was in.

    Any BLAS frame makes it BLAS: below them even memset is BLAS's. Rust and NumPy's C, too, count with all that they
    call (but frameworks that Rust calls are native), code compiled at run time with what it calls of libc. Rust
    products are matrixmultiply's, ndarray's default, the crate gemm's, and those of rust_fused's own kernels. A Python
    function that is nothing but itself is Python.
    """
    if any(_BLAS.search(frame) for frame in stack):
        return "BLAS"
    if any(_RUST.search(frame) for frame in stack) and not any(_FRAMEWORK.search(frame) for frame in stack):
        return "Rust products" if any(_RUST_PRODUCTS.search(frame) for frame in stack) else "other Rust"
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


def wilson(count: int, total: int, z: float = Z_95) -> Share:
    """Return the share count / total with Wilson's score interval. Raises ValueError if there is no sample.

    The interval is the 95 % one unless `z`, the normal quantile, says otherwise.
    """
    if total < 1:
        raise ValueError(f"wilson: expected at least one sample, got {total}")
    p = count / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    margin = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Share(p, max(0.0, centre - margin), min(1.0, centre + margin))


def difference(before: Share, after: Share) -> tuple[float, float, float]:
    """Return after - before with Newcombe's interval, which has the level of the two Wilson intervals."""
    change = after.value - before.value
    low = change - math.hypot(after.value - after.low, before.high - before.value)
    high = change + math.hypot(after.high - after.value, before.value - before.low)
    return change, low, high
