"""The workloads: which network, how large a mini-batch, which dtype, how many threads, a step or an epoch."""

import difflib
from collections.abc import Iterable

import msgspec

from bench.cpus import cores
from bench.records import Workload
from impls.errors import UserError

DTYPES = ("float64", "float32")
MAX_SIZE = 1 << 20  # units in a layer, or examples in a mini-batch
SLOW_BASELINE = 1e8  # examples x weights from which the loop takes too long to be the baseline
FORM = "SIZES[:BATCH[:DTYPE[:THREADS]]], as 784-64-10:32:float32:2"


def default_workloads() -> dict[str, Workload]:
    """Return the workloads of the default run, by name. One that needs several cores is left out on one core."""
    large = Workload("large", (784, 512, 512, 10), 256, baseline="batched_2d")  # the loop would take 0.26 s
    workloads = [
        Workload("book", (784, 30, 10), 10),
        Workload("book-f32", (784, 30, 10), 10, dtype="float32"),
        Workload("batch", (784, 30, 10), 128),
        Workload("wide", (784, 100, 10), 10),
        Workload("deep", (784, 100, 100, 100, 10), 64),
        large,
        msgspec.structs.replace(large, name="large-f32", dtype="float32"),
        Workload("epoch", (784, 30, 10), 10, timed="epoch"),
    ]
    if cores() > 1:
        workloads.append(msgspec.structs.replace(large, name="large-all", threads=cores()))
    return {workload.name: workload for workload in workloads}


def sweeps() -> dict[str, list[Workload]]:
    """Return the opt-in sweeps by name; each varies one number around the book's network."""
    powers = [1 << exponent for exponent in range(13)]  # 1 to 4096
    counts = [threads for threads in powers if threads <= cores()]
    if cores() not in counts:
        counts.append(cores())
    return {
        "batch": [_swept("batch", (784, 30, 10), batch_size) for batch_size in powers],
        "batch-grid": [
            _swept("batch-grid", (784, 30, 10), batch_size, dtype, threads)
            for threads in sorted({1, cores()})
            for dtype in DTYPES
            for batch_size in powers[::2]
        ],
        "width": [_swept("width", (784, width, 10), 32) for width in (8, 16, 32, 64, 128, 256, 512, 1024)],
        "depth": [_swept("depth", (784, *[100] * depth, 10), 64) for depth in range(1, 9)],
        "threads": [_swept("threads", (784, 512, 512, 10), 256, threads=threads) for threads in counts],
        "dtype": [
            _swept("dtype", sizes, batch_size, dtype=dtype)
            for sizes, batch_size in (((784, 30, 10), 10), ((784, 30, 10), 128), ((784, 512, 512, 10), 256))
            for dtype in DTYPES
        ],
    }


def parse(text: str) -> Workload:
    """Return the workload for a name or for `SIZES[:BATCH[:DTYPE[:THREADS]]]`, as `784-64-10:32:float32:2`.

    Raises UserError that says what was expected and what was found.
    """
    known = default_workloads()
    if text in known:
        return known[text]
    form = f"--workload {text}: expected {FORM}"
    fields = text.split(":")
    if len(fields) == 1 and not text[:1].isdigit() and not text.startswith("-"):
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise UserError(f"unknown workload {text!r}; {hint} (or give {FORM})")
    if len(fields) > 4:
        raise UserError(f"{form}; found {len(fields)} fields")
    sizes = parse_sizes(fields[0], form)
    batch_size = _positive(form, "batch size", fields[1]) if len(fields) > 1 else 10
    dtype = fields[2] if len(fields) > 2 else "float64"
    if dtype not in DTYPES:
        raise UserError(f"{form}; dtype must be {' or '.join(DTYPES)}, found {dtype!r}")
    threads = _positive(form, "threads", fields[3]) if len(fields) > 3 else 1
    if threads > cores():
        raise UserError(f"{form}; {threads} threads asked for, this process may use {cores()} cores")
    return _with_baseline(Workload(text, sizes, batch_size, dtype, threads))


def parse_sizes(text: str, form: str = "expected layer sizes as 784-30-10") -> tuple[int, ...]:
    """Return the units per layer written as `784-30-10`. Raises UserError that begins with `form`."""
    sizes = tuple(_positive(form, "layer size", size) for size in text.split("-"))
    if len(sizes) < 2:
        raise UserError(f"{form}; found {len(sizes)} layer, at least inputs and outputs are needed")
    return sizes


def select(names: Iterable[str], sweep_names: Iterable[str]) -> dict[str, Workload]:
    """Return the workloads that the user asked for, by name; the default ones if nothing was asked for."""
    chosen = {name: parse(name) for name in names}
    for name in sweep_names:
        known = sweeps()
        if name not in known:
            raise UserError(f"unknown sweep {name!r}; known: {', '.join(known)}")
        chosen |= {workload.name: workload for workload in known[name]}
    return chosen or default_workloads()


def _positive(form: str, what: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MAX_SIZE):
        raise UserError(f"{form}; {what} must be a whole number from 1 to {MAX_SIZE}, found {text[:40]!r}")
    return int(text)


def _swept(sweep: str, sizes: tuple[int, ...], batch_size: int, dtype: str = "float64", threads: int = 1) -> Workload:
    name = f"{'-'.join(map(str, sizes))}:{batch_size}:{dtype}:{threads}"
    return _with_baseline(Workload(name, sizes, batch_size, dtype, threads, sweep=sweep))


def _with_baseline(workload: Workload) -> Workload:
    if workload.batch_size * workload.weights < SLOW_BASELINE:
        return workload
    return msgspec.structs.replace(workload, baseline="batched_2d")
