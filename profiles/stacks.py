"""Collapsed stacks: read them, keep the frames of the implementation, tell where the time goes.

A line of collapsed stacks is `frame;frame;… count`, the root first. py-spy writes Python frames as
`Class.function (file.py:line)`, native ones as `function (library.so)`, nameless ones as `0x7f… (library.so)`.
"""

import itertools
import math
import re
from collections import Counter
from pathlib import PurePath
from typing import NamedTuple

import pydemumble

from impls.support.errors import UserError
from impls.support.text import one_line

Stack = tuple[str, ...]
Stacks = Counter[Stack]  # the number of samples of each stack

TIMED_LOOP = re.compile(r"^time_calls \(.*timing\.py:\d+\)$")  # The worker's loop calls the implementation.
ADDRESS = re.compile(r"^0x[0-9a-f]+ \((.*)\)$")
PYTHON_FRAME = re.compile(r"^(.*) \(([^()]*\.py):(\d+)\)$")
CATEGORIES = ("BLAS", "Rust products", "other Rust", "NumPy C", "JIT", "Python", "other native")
PRODUCTS = ("BLAS", "Rust products")  # the categories of matrix products
Z_95 = 1.959964  # the normal quantile of a two-sided 95 % interval
NAMELESS = "[?]"  # code without a name or library: compiled while the program ran
MAX_NAME = 100  # letters of a function's name: C++ templates have pages of arguments
_BLAS = re.compile(r"openblas|mkl_|libmkl|Accelerate|libblis", re.IGNORECASE)
_NUMPY = re.compile(r"(_multiarray_umath|numpy/).*\.so")
_RUST = re.compile(r"backprop_bench_rust|\.rs(:\d+)?\)$")
_RUST_PRODUCTS = re.compile(r"\b(matrixmultiply|gemm(_common|_f32|_f64)?|fused::products)::|\(products\.rs(:\d+)?\)$")
_FRAMEWORK = re.compile(r"\blib(torch\w*|c10|tensorflow\w*)\.so\b")  # … which are not Rust when Rust calls them
_COMPILED = re.compile(r"\.main\.(cpp|so)\b")  # by torch.compile, which names its C++ files so
_LIBC = re.compile(r"\blib(c|m|pthread|stdc\+\+)[.-]")  # … whose functions work for those that call them
_WAIT = re.compile(r"futex_?wait|cond_\w*wait|condition_variable::wait|sem_\w*wait|acquire_lock_timed", re.IGNORECASE)
_BUILD = re.compile(r"(-[0-9a-f]{8})?(\.cpython-[\w-]+|\.abi3)?\.so\b")  # hash and tag change with every build
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")  # ends a legacy name, and changes with every build
_RUST_ESCAPE = re.compile(r"\$(LT|GT|LP|RP|RF|BP|C|SP|u[0-9a-f]{1,5})\$")
_RUST_ESCAPED = {"LT": "<", "GT": ">", "LP": "(", "RP": ")", "RF": "&", "BP": "*", "C": ",", "SP": "@"}
_INNER_PATH = re.compile(r"(?<=[< (&,])(?:\w+::)+(?=\w)")
_INNERMOST_ARGUMENTS = re.compile(r"(?<=[\w:…])[<(][^<>()]*[>)]")


class Proportion(NamedTuple):
    """A share of the samples, 0 to 1, with Wilson's interval, of 95 % if nothing else is said."""

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


def parse(text: str) -> Stacks:
    """Return the counts of collapsed stacks; comment lines start with '#'. Raises UserError on anything else."""
    stacks: Stacks = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"(.+) (\d{1,15})", one_line(line))
        if not match:
            raise UserError(f"line {number}: expected collapsed stacks 'frame;frame count', found {line[:60]!r}")
        frames = tuple(re.split(r";(?! )", match[1]))  # The semicolon in Rust's [T; 4] ends no frame.
        stacks[frames] += int(match[2])
    return stacks


def clean(stacks: Stacks, source: str) -> tuple[Stacks, int, int]:
    """Return the stacks from the implementation's first frame on; `source` is the name of its file.

    That is the frame under the worker's timed loop or, in a thread that it started, the first one of its file. The two
    numbers are of samples without such a frame and of threads that waited: py-spy means to leave these out, but takes
    those for running that it has just resumed.
    """
    kept: Stacks = Counter()
    outside = waiting = 0
    for stack, count in stacks.items():
        inside = stack[_start(stack, source) :]
        if _waits(stack):
            waiting += count
        elif inside:
            kept[tuple(map(_readable, inside))] += count
        else:
            outside += count
    return kept, outside, waiting


def _waits(stack: Stack) -> bool:
    """Return whether the innermost function, nameless parts of libc and the system call left aside, is a wait."""
    for frame in reversed(stack):
        if _WAIT.search(frame):
            return True
        if not (_LIBC.search(frame) and (ADDRESS.match(frame) or frame.startswith("syscall "))):
            return False
    return False


def _start(stack: Stack, source: str) -> int:
    """Return the index of the implementation's first frame; the stack's length if it has none."""
    below_loop = (number for number, frame in enumerate(stack, start=1) if TIMED_LOOP.match(frame))
    of_source = (number for number, frame in enumerate(stack) if _file(frame) == source)
    return next(itertools.chain(below_loop, of_source), len(stack))


def _file(frame: str) -> str:
    """Return the name of a Python frame's file; "" of a native frame."""
    python = PYTHON_FRAME.match(frame)
    return PurePath(python[2]).name if python else ""


def _readable(frame: str) -> str:
    """Return a frame without addresses, absolute paths, hashes of builds, Rust's mangling and long arguments."""
    address = ADDRESS.match(frame)
    if address:
        return NAMELESS if address[1] in ("?", "") else f"[{_BUILD.sub('.so', PurePath(address[1]).name)}]"
    name, bracket, place = frame.rpartition(" (")
    if not bracket:
        return frame
    place = PurePath(place).name if place.startswith("/") else place
    return f"{_shortened(demangled(name))} ({_BUILD.sub('.so', place)}"


def demangled(name: str) -> str:
    """Return the name of a Rust function as it was written, any other name as it is.

    py-spy demangles the names of C++. It reads those of Rust's legacy scheme as such, and leaves escapes and a hash.
    """
    if name.startswith("_R"):
        return pydemumble.demangle(name) or name
    without_hash = _RUST_HASH.sub("", name)
    if without_hash == name:
        return name
    name = re.sub(r"(^|::)_(?=\$)", r"\1", without_hash).replace("..", "::")
    return _RUST_ESCAPE.sub(_unescaped, name)


def _unescaped(escape: re.Match[str]) -> str:
    return _RUST_ESCAPED.get(escape[1]) or chr(int(escape[1][1:], 16))


def _shortened(name: str) -> str:
    """Return a name without the modules of its arguments, and with `…` for the innermost arguments of a long one."""
    name = _INNER_PATH.sub("", name)
    while len(name) > MAX_NAME and _INNERMOST_ARGUMENTS.search(name):
        name = _INNERMOST_ARGUMENTS.sub("…", name)
    return name


def category(stack: Stack) -> str:
    """Return what kind of code a sample was in.

    Any BLAS frame makes it BLAS: below them even memset is BLAS's. Rust and NumPy's C, too, count with all that they
    call (but frameworks that Rust calls are native), code compiled at run time with what it calls of libc. Rust
    products are matrixmultiply's, ndarray's default, the crate gemm's, and those of rust_fused's own kernels. A Python
    function that is nothing but itself is Python.
    """

    def has(pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(frame) for frame in stack)

    if has(_BLAS):
        return "BLAS"
    if has(_RUST) and not has(_FRAMEWORK):
        return "Rust products" if has(_RUST_PRODUCTS) else "other Rust"
    if has(_NUMPY):
        return "NumPy C"
    if has(_COMPILED):
        return "JIT"
    if PYTHON_FRAME.match(stack[-1]):
        return "Python"
    innermost = next((frame for frame in reversed(stack) if not _LIBC.search(frame)), "")
    return "JIT" if innermost == NAMELESS else "other native"


def shares(stacks: Stacks) -> dict[str, Proportion]:
    """Return the share of each category in the samples."""
    samples: Counter[str] = Counter()
    for stack, count in stacks.items():
        samples[category(stack)] += count
    return {name: wilson(samples[name], stacks.total()) for name in CATEGORIES}


def wilson(count: int, total: int, z: float = Z_95) -> Proportion:
    """Return the share count / total with Wilson's score interval; `z` is the normal quantile of its level."""
    p = count / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    margin = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Proportion(p, max(0.0, centre - margin), min(1.0, centre + margin))


def difference(before: Proportion, after: Proportion) -> tuple[float, float, float]:
    """Return after - before with Newcombe's interval, which has the level of the two Wilson intervals."""
    change = after.value - before.value
    low = change - math.hypot(after.value - after.low, before.high - before.value)
    high = change + math.hypot(after.high - after.value, before.value - before.low)
    return change, low, high
