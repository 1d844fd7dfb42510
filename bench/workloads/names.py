"""The workloads: which network, how large a mini-batch, which dtype, how many threads, a step or an epoch."""

import difflib
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import psutil

from bench.conditions import Workload, printable, threads_text
from bench.system.cpus import cores, cores_text
from impls.support.errors import UserError

DTYPES = ("float64", "float32")
MAX_SIZE = 1 << 20  # units in a layer, or examples in a mini-batch
SLOW_BASELINE = 1e8  # examples x weights from which the loop takes too long to be the baseline …
LARGE_BASELINE = 1e6  # … and weights, which are read from memory and written to it for each example
ON_ALL_CORES = "large-all"  # the workload that is there with several cores only
MAX_EPOCH = 1_000_000  # examples that an epoch goes through
FORM = "SIZES[:BATCH[:DTYPE[:THREADS[:EPOCH]]]], as 784-64-10:32:float32:2"
DEFAULTS = ("10", "float64", "1", "")  # of what follows the sizes

# A worker holds so many copies of these: parameters as drawn, of the instance, the implementation's own, its gradients,
# what was read and what is handed over; inputs, outputs and errors of all layers; a data set made, native and gathered.
PARAMETERS, BATCHES, DATA_SETS = 8, 4, 3
REFERENCES = 4  # times the numbers of a worker, in float64, are what the check of what was timed needs
USABLE = 0.8  # of the memory that is available


def default_workloads() -> dict[str, Workload]:
    """Return the workloads of the default run, by name. There is none for several cores on one core."""
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
    threads = cores()
    if threads > 1:
        workloads.append(msgspec.structs.replace(large, name=ON_ALL_CORES, threads=threads))
    return {workload.name: workload for workload in workloads}


def sweeps() -> dict[str, list[Workload]]:
    """Return the opt-in sweeps by name; each varies one number around the book's network."""
    powers = [1 << exponent for exponent in range(15)]  # 1 to 16,384
    most_threads = cores()
    counts = sorted({*(threads for threads in powers if threads < most_threads), most_threads})
    sweeps = {
        "batch": [_workload((784, 30, 10), batch_size) for batch_size in powers],
        "batch-grid": [
            _workload((784, 30, 10), batch_size, dtype, threads)
            for threads in sorted({1, most_threads})
            for dtype in DTYPES
            for batch_size in powers[::2]
        ],
        "width": [_workload((784, width, 10), 32) for width in (8, 16, 32, 64, 128, 256, 512, 1024)],
        "width-grid": [
            _workload((784, width, 10), batch_size, dtype)
            for dtype in DTYPES
            for batch_size in (1, 10, 256)
            for width in (8, 32, 128, 512, 2048, 8192)
        ],
        "depth": [_workload((784, *[100] * depth, 10), 64) for depth in range(1, 9)],
        "threads": [_workload((784, 512, 512, 10), 256, threads=threads) for threads in counts],
        "strong": [  # some 1, 3, 10, …, 1,000 Mflop a step
            _workload((784, 128, 10), batch_size, threads=threads)
            for threads in counts
            for batch_size in (2, 8, 24, 78, 244, 780, 2444)
        ],
        "weak": [_workload((784, 512, 512, 10), 64 * threads, threads=threads) for threads in counts],
        "data": [
            _workload((784, 30, 10), 100, epoch_examples=examples)
            for examples in (150, 500, 1_500, 5_000, 15_000, 50_000)
        ],
        "dtype": [
            _workload(sizes, batch_size, dtype)
            for sizes, batch_size in (((784, 30, 10), 10), ((784, 30, 10), 128), ((784, 512, 512, 10), 256))
            for dtype in DTYPES
        ],
    }
    return {
        sweep: [msgspec.structs.replace(workload, sweep=sweep) for workload in workloads]
        for sweep, workloads in sweeps.items()
    }


def parse(text: str) -> Workload:
    """Return the workload for a name or for `SIZES[:BATCH[:DTYPE[:THREADS[:EPOCH]]]]`, as `784-64-10:32:float32:2`.

    With EPOCH, an epoch of so many examples is timed, else a step.
    Raises UserError that says what was expected and what was found.
    """
    known = default_workloads()
    if text in known:
        return known[text]
    if text == ON_ALL_CORES:
        raise UserError(f"--workload {text}: needs 2 cores at least; {cores_text()}")
    form = f"--workload {printable(text, 80)}: expected {FORM}"
    sizes_text, *fields = text.split(":")
    if not fields and not text[:1].isdigit() and not text.startswith("-"):
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise UserError(f"unknown workload {text!r}; {hint} (or give {FORM})")
    if len(fields) > len(DEFAULTS):
        raise UserError(f"{form}; found {1 + len(fields)} fields")
    batch_size, dtype, threads_given, epoch = (*fields, *DEFAULTS[len(fields) :])
    sizes = parse_sizes(sizes_text, form)
    if dtype not in DTYPES:
        raise UserError(f"{form}; dtype must be {' or '.join(DTYPES)}, found {dtype!r}")
    threads = _positive(form, "threads", threads_given)
    if threads > cores():
        raise UserError(f"{form}; asked for {threads_text(threads)}, {cores_text()}")
    epoch_examples = _positive(form, "examples of an epoch", epoch, MAX_EPOCH) if epoch else 0
    workload = _workload(sizes, _positive(form, "batch size", batch_size), dtype, threads, epoch_examples)
    return msgspec.structs.replace(workload, name=text)


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


def check_fits(implementations: Mapping[str, int], workloads: Mapping[str, Workload], data_examples: int) -> None:
    """Raise UserError if the workers of a workload do not fit into the memory that is available.

    `implementations` has their number for each workload, the baseline and the control included. Their workers are alive
    together. What one holds beyond parameters and layers, such as a gradient for each example, is not counted.
    """
    available = psutil.virtual_memory().available
    for name, workload in workloads.items():
        needed = needed_bytes(workload, implementations[name], data_examples)
        if needed > USABLE * available:
            raise UserError(
                f"workload {name}: expected to fit into {available / 1e9:.1f} GB of available memory, needs about "
                f"{needed / 1e9:.1f} GB for {implementations[name]} implementations; choose a smaller one, or fewer of "
                "them with --impl"
            )


def needed_bytes(workload: Workload, implementations: int, data_examples: int) -> int:
    """Return about how much memory the workers of so many implementations and the check of their results need."""
    parameters = workload.weights + sum(workload.sizes[1:])
    numbers = PARAMETERS * parameters + BATCHES * workload.batch_size * sum(workload.sizes)
    if workload.timed == "epoch":
        numbers += DATA_SETS * workload.examples(data_examples) * (workload.sizes[0] + workload.sizes[-1])
    return numbers * (implementations * np.dtype(workload.dtype).itemsize + REFERENCES * 8)


def _positive(form: str, what: str, text: str, most: int = MAX_SIZE) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):
        raise UserError(f"{form}; {what} must be a whole number from 1 to {most}, found {text[:40]!r}")
    return int(text)


def _workload(
    sizes: tuple[int, ...], batch_size: int, dtype: str = "float64", threads: int = 1, epoch_examples: int = 0
) -> Workload:
    """Return a workload that is called as it would be asked for, with a baseline that does not take too long."""
    name = f"{'-'.join(map(str, sizes))}:{batch_size}:{dtype}:{threads}" + f":{epoch_examples}" * bool(epoch_examples)
    timed = "epoch" if epoch_examples else "step"
    workload = Workload(name, sizes, batch_size, dtype, threads, timed=timed, epoch_examples=epoch_examples)
    examples = workload.examples(epoch_examples)
    if examples * workload.weights < SLOW_BASELINE and workload.weights < LARGE_BASELINE:
        return workload
    return msgspec.structs.replace(workload, baseline="batched_2d")
