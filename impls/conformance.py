"""Whether an implementation meets the contract: an oracle, a short check before timing, and the whole kit.

`check_workload` is the short check that runs in the same process, on the same workload, before anything is timed.
`check` is the whole kit: a table of small checks, each with a name, run over networks, dtypes and numbers of
threads. Both return every violation they find and stop at none.

Dimensions are those of `impls.interface`. The oracle computes in float64 and shares no code with any
implementation: it keeps examples as columns and each bias as one more column of its weights.
"""

import math
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from impls.interface import Array, Implementation, Parameters

Factory = Callable[[Sequence[int], int, str, int], Implementation]

COSTS = ("quadratic", "cross-entropy")

# The largest allowed error of a gradient: per tensor, norm of the difference / norm of the oracle's tensor.
#
# A network of L layers of weights does 2L + 1 products one after the other, 11 for the deepest one checked.
# Rounding errors are as good as independent, so that a sum of n terms is off by about sqrt(n) * u of its terms'
# norm, u being half a unit in the last place: 32 u for the 1,024 terms of the widest layers and batches. A sum
# whose terms cancel loses up to one more digit (a factor of 10; the networks here are drawn so that none loses
# more). Together 11 * 32 * 10 = 3,500 u, rounded to a power of ten that lies well above what right implementations
# reach and below what the next lower precision does; both columns were measured on the cases and workloads here:
#
#              u        3,500 u    allowed    worst right row    lower precision inside
#   float64    1.1e-16  3.9e-13    1e-12      3e-15              float32: 2e-8 and more
#   float32    6.0e-08  2.1e-04    1e-4       3e-6               TF32, float16: 3e-4 and more
TOLERANCES = {"float64": 1e-12, "float32": 1e-4}

# Mini-batches in the epoch of `check_workload`. Rounding errors grow from step to step, and over thousands of steps
# with a large learning rate two right implementations part ways; so few steps stay within the tolerance.
EPOCH_STEPS = 32


@dataclass(frozen=True)
class Violation:
    """One way in which an implementation breaks the contract."""

    check: str  # a stable name in kebab-case, such as "short-last-batch"
    detail: str  # where, what was expected and what was found, in one line

    def __str__(self) -> str:
        return f"{self.check}: {self.detail}"


# --- The oracle ------------------------------------------------------------------------------------------------


def oracle_gradients(parameters: Parameters, x: Array, y: Array, cost: str = "quadratic") -> Parameters:
    """Return the gradient of C = 1/(2B) * sum of |a - y|^2 in float64, for `x` (B, n_0) and `y` (B, n_L).

    Nielsen, chapter 2, equations BP1 to BP4, with W and b as one matrix and a constant 1 under each activation.
    With the cost "cross-entropy" it is that of C = -1/B * sum of y ln a + (1 - y) ln(1 - a), chapter 3, whose
    dC/dz of the last layer lacks the slope of the sigmoid.
    """
    if cost not in COSTS:
        raise ValueError(f"cost: expected {' or '.join(COSTS)}, got {cost!r}")
    layers = [
        np.column_stack([W, b]).astype(np.float64) for W, b in zip(parameters.weights, parameters.biases, strict=True)
    ]  # (n_out, n_in + 1)
    activation = np.asarray(x, np.float64).T  # (n_0, B)
    inputs, slopes = [], []
    for layer in layers:
        inputs.append(np.vstack([activation, np.ones((1, len(x)))]))  # (n_in + 1, B)
        activation, slope = _sigmoid_and_slope(layer @ inputs[-1])  # (n_out, B)
        slopes.append(slope)
    upstream = (activation - np.asarray(y, np.float64).T) / len(x)  # (n_L, B), dC/da
    if cost == "cross-entropy":
        slopes[-1] = np.ones_like(slopes[-1])  # that was dC/dz
    gradients: list[Array] = []
    for layer, layer_input, slope in zip(reversed(layers), reversed(inputs), reversed(slopes), strict=True):
        delta = upstream * slope  # (n_out, B), dC/dz
        gradients.insert(0, delta @ layer_input.T)  # (n_out, n_in + 1)
        upstream = layer[:, :-1].T @ delta  # (n_in, B)
    return Parameters([g[:, :-1] for g in gradients], [g[:, -1] for g in gradients])


def oracle_epoch(
    parameters: Parameters,
    x: Array,
    y: Array,
    order: NDArray[np.intp],
    batch_size: int,
    learning_rate: float,
    cost: str = "quadratic",
) -> Parameters:
    """Return the float64 parameters after one epoch: steps over `order`, `batch_size` examples at a time.

    The last mini-batch may be smaller. `x` is (N, n_0), `y` is (N, n_L), `order` holds indices into both.
    """
    weights = [np.array(W, np.float64) for W in parameters.weights]  # (n_out, n_in)
    biases = [np.array(b, np.float64) for b in parameters.biases]  # (n_out,)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        dW, db = oracle_gradients(Parameters(weights, biases), x[rows], y[rows], cost)
        weights = [W - learning_rate * dW_l for W, dW_l in zip(weights, dW, strict=True)]
        biases = [b - learning_rate * db_l for b, db_l in zip(biases, db, strict=True)]
    return Parameters(weights, biases)


def _sigmoid_and_slope(z: Array) -> tuple[Array, Array]:
    """Return the sigmoid and its derivative, both to full relative precision in both tails."""
    with np.errstate(under="ignore"):
        tail = np.exp(-np.abs(z))  # at most 1, so nothing overflows
        whole = 1.0 + tail
        return np.where(z < 0.0, tail, 1.0) / whole, tail / whole**2


# --- Comparisons: each returns what is off in words, "" for nothing ----------------------------------------------


def _tensors(parameters: Any) -> list[tuple[str, Any]]:
    """Return all tensors with their names; raises TypeError or ValueError if they are no pair of sequences."""
    weights, biases = parameters
    return [(f"weights[{n}]", W) for n, W in enumerate(weights)] + [(f"biases[{n}]", b) for n, b in enumerate(biases)]


def _paired(found: Any, expected: Parameters) -> tuple[str, list[tuple[str, Array, Array]]]:
    """Match tensors one to one: what keeps them from being compared, and those that can be."""
    try:
        named = dict(_tensors(found))
    except (TypeError, ValueError):
        return f"expected a pair of lists, weights and biases, got {type(found).__name__}", []
    wanted = dict(_tensors(expected))
    faults = [f"{name} is missing" for name in wanted if name not in named]
    faults += [f"{name} is one too many" for name in named if name not in wanted]
    pairs = []
    for name in wanted.keys() & named.keys():
        if np.shape(named[name]) == wanted[name].shape:
            pairs.append((name, np.asarray(named[name], np.float64), np.asarray(wanted[name], np.float64)))
        else:
            faults.append(f"{name}: expected shape {wanted[name].shape}, got {np.shape(named[name])}")
    return "; ".join(sorted(faults)), sorted(pairs, key=lambda pair: pair[0])


def _off(found: Any, expected: Parameters, tolerance: float) -> str:
    """Compare gradients: norm of the difference / norm of the oracle's, tensor by tensor."""
    fault, pairs = _paired(found, expected)
    faults = [fault] if fault else []
    with np.errstate(all="ignore"):
        for name, mine, theirs in pairs:
            size, difference = np.linalg.norm(theirs), np.linalg.norm(mine - theirs)
            error = difference / size if size > 0.0 else difference
            if not (error <= tolerance):  # NaN is off, too
                faults.append(f"{name} is off by {error:.1e} of its norm, {tolerance:.0e} allowed")
    return "; ".join(faults)


def _off_after(found: Any, before: Parameters, expected: Parameters, examples: int, dtype: str) -> str:
    """Compare parameters after steps over `examples` examples in all, relative to how far the oracle's moved.

    Parameters cannot be better than their last place, and every addition to them rounds again; independently,
    so that the root of their number counts: it is allowed to round once an example.
    """
    fault, pairs = _paired(found, expected)
    faults = [fault] if fault else []
    start = dict(_tensors(before))
    rounding = np.finfo(dtype).eps * math.sqrt(examples)
    with np.errstate(all="ignore"):
        for name, mine, theirs in pairs:
            moved = np.linalg.norm(theirs - np.asarray(start[name], np.float64))
            allowed = TOLERANCES[dtype] * moved + rounding * np.linalg.norm(theirs)
            difference = np.linalg.norm(mine - theirs)
            if not (difference <= allowed):  # NaN is off, too
                faults.append(f"{name} is off by {difference:.1e} of a move of {moved:.1e}, {allowed:.1e} allowed")
    return "; ".join(faults)


def _different(found: Any, expected: Parameters) -> str:
    """Compare copies: bit by bit, NaN equal to NaN."""
    fault, pairs = _paired(found, expected)
    faults = [fault] if fault else []
    faults += [f"{name} differs" for name, mine, theirs in pairs if not np.array_equal(mine, theirs, equal_nan=True)]
    return "; ".join(faults)


def _swallowed(found: Any, expected: Parameters) -> str:
    """Compare where NaN is: it must be wherever the oracle has it."""
    fault, pairs = _paired(found, expected)
    faults = [fault] if fault else []
    for name, mine, theirs in pairs:
        lost, of = int(np.sum(np.isnan(theirs) & ~np.isnan(mine))), int(np.sum(np.isnan(theirs)))
        if lost:
            faults.append(f"{name} lost {lost} of {of} NaN")
    return "; ".join(faults)


def _wrong_types(found: Any, dtype: str) -> str:
    """Name the tensors that are no NumPy arrays of `dtype`."""
    faults = []
    for name, tensor in _tensors(found):
        if not isinstance(tensor, np.ndarray):
            faults.append(f"{name}: expected a NumPy array, got {type(tensor).__name__}")
        elif tensor.dtype != np.dtype(dtype):
            faults.append(f"{name}: expected {dtype}, got {tensor.dtype}")
    return "; ".join(faults)


class _Watch:
    """Arrays that nobody may change: remembers a checksum of each."""

    def __init__(self, parameters: Parameters, **arrays: Array) -> None:
        self._arrays = dict(_tensors(parameters)) | arrays
        self._sums = {name: _checksum(array) for name, array in self._arrays.items()}

    def changed(self) -> str:
        """Name the arrays that changed."""
        return "; ".join(
            f"{name} was changed" for name, array in self._arrays.items() if _checksum(array) != self._sums[name]
        )


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


# --- Before timing -----------------------------------------------------------------------------------------------


def check_workload(
    implementation: Implementation,
    parameters: Parameters,
    x: Array,
    y: Array,
    learning_rate: float,
    *,
    epoch: bool = False,
) -> list[Violation]:
    """Check one workload as it is going to be timed: the gradient, a step or an epoch, and that inputs are unchanged.

    `x` (N, n_0) and `y` (N, n_L) are one mini-batch, or with `epoch` the data set, in the implementation's dtype; of a
    long epoch, the first EPOCH_STEPS mini-batches and a last one as short as the real one are checked. Leaves the
    implementation loaded with `parameters`. What it raises is not caught; a dtype without tolerance is a ValueError.
    """
    dtype = implementation.dtype.name
    batch_size = implementation.batch_size if epoch else len(x)
    if len(x) > EPOCH_STEPS * batch_size:
        examples = EPOCH_STEPS * batch_size + len(x) % batch_size
        x, y = x[:examples], y[:examples]
    order = np.random.default_rng(0).permutation(len(x)) if epoch else np.arange(len(x))
    first = slice(0, batch_size)
    with _one_blas_thread():
        expected_gradient = oracle_gradients(parameters, x[first], y[first], implementation.cost)
        expected = oracle_epoch(parameters, x, y, order, batch_size, learning_rate, implementation.cost)
    watch = _Watch(parameters, x=x, y=y, order=order)

    implementation.load(parameters)
    gradient = implementation.gradients(implementation.prepare(x[first], y[first]))
    input_fault = watch.changed()

    implementation.load(parameters)
    if epoch:
        implementation.epoch(implementation.prepare_data(x, y), order, learning_rate)
    else:
        implementation.step(implementation.prepare(x, y), learning_rate)
    after = implementation.parameters()
    input_fault = input_fault or watch.changed()

    with _one_blas_thread():
        gradient_fault = _off(gradient, expected_gradient, _tolerance(dtype)) or _wrong_types(gradient, dtype)
        step_fault = _off_after(after, parameters, expected, len(x), dtype) or _wrong_types(after, dtype)

    implementation.load(parameters)
    found = {"gradient": gradient_fault, "epoch" if epoch else "step": step_fault, "inputs-unchanged": input_fault}
    return [Violation(name, fault) for name, fault in found.items() if fault]


def _one_blas_thread() -> threadpool_limits:
    """Hold NumPy's BLAS at one thread: more of them would spin for a while and disturb the implementation's own."""
    return threadpool_limits(limits=1, user_api="blas")


# --- The whole kit -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network, the work space it is constructed with, and how many examples it is given."""

    sizes: tuple[int, ...]
    batch_size: int
    examples: int


@dataclass(frozen=True)
class Trial:
    """One case for one dtype and number of threads, with random parameters and examples of its own."""

    factory: Factory
    dtype: str
    threads: int
    case: Case

    def open(self) -> Implementation:
        """Construct the implementation and load its parameters."""
        implementation = self.factory(self.case.sizes, self.case.batch_size, self.dtype, self.threads)
        try:
            implementation.load(self.parameters)
        except BaseException:
            implementation.close()
            raise
        return implementation

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng([*self.case.sizes, self.case.examples])

    @cached_property
    def parameters(self) -> Parameters:
        return self.draw_parameters()

    @cached_property
    def x(self) -> Array:
        return self.rng.standard_normal((self.case.examples, self.case.sizes[0])).astype(self.dtype)  # (N, n_0)

    @cached_property
    def y(self) -> Array:
        y = self.rng.random((self.case.examples, self.case.sizes[-1]))  # (N, n_L)
        return (y if self.cost == "quadratic" else y.round()).astype(self.dtype)  # the other cost is of labels

    @property
    def cost(self) -> str:
        return getattr(self.factory, "cost", "quadratic")

    @cached_property
    def order(self) -> NDArray[np.intp]:
        return self.rng.permutation(self.case.examples)  # (N,)

    def draw_parameters(self) -> Parameters:
        """Draw parameters that keep the units of all layers away from saturation."""
        shapes = [(n_out, n_in) for n_in, n_out in pairwise(self.case.sizes)]
        weights = [self.rng.standard_normal(shape) * 2.0 / math.sqrt(shape[1]) for shape in shapes]
        biases = [self.rng.standard_normal(n_out) for n_out, _ in shapes]
        return Parameters([W.astype(self.dtype) for W in weights], [b.astype(self.dtype) for b in biases])

    def gradient_off(self, found: Any, rows: slice = slice(None), parameters: Parameters | None = None) -> str:
        """Compare a gradient with the oracle's for some of the examples."""
        expected = oracle_gradients(parameters or self.parameters, self.x[rows], self.y[rows], self.cost)
        return _off(found, expected, TOLERANCES[self.dtype])

    def step_off(self, found: Any, learning_rate: float, steps: Sequence[NDArray[np.intp]]) -> str:
        """Compare parameters with the oracle's after steps over the given examples."""
        expected = self.parameters
        for rows in steps:
            expected = oracle_epoch(expected, self.x, self.y, rows, len(rows), learning_rate, self.cost)
        return _off_after(found, self.parameters, expected, sum(map(len, steps)), self.dtype)

    def __str__(self) -> str:
        case = self.case
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        sizes = "-".join(map(str, case.sizes))
        return f"{sizes}, {case.examples} examples, work space for {case.batch_size}, {self.dtype}, {threads}"


Run = Callable[[Trial], Iterator[str]]  # yields what is off in words; "" is nothing


def _gradient(trial: Trial) -> Iterator[str]:
    with trial.open() as implementation:
        yield trial.gradient_off(implementation.gradients(implementation.prepare(trial.x, trial.y)))


def _result_type(trial: Trial) -> Iterator[str]:
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x, trial.y)
        yield _words("gradients", _wrong_types(implementation.gradients(batch), trial.dtype))
        yield _words("parameters", _wrong_types(implementation.parameters(), trial.dtype))
        implementation.step(batch, np.float64(0.5))  # a float, and yet it turns float32 into float64
        yield _words("parameters after a step", _wrong_types(implementation.parameters(), trial.dtype))


def _step(trial: Trial) -> Iterator[str]:
    everything = np.arange(trial.case.examples)
    for learning_rate in (3.0, 0.01):
        with trial.open() as implementation:
            implementation.step(implementation.prepare(trial.x, trial.y), learning_rate)
            fault = trial.step_off(implementation.parameters(), learning_rate, [everything])
            yield _words(f"learning rate {learning_rate}", fault)


def _no_learning(trial: Trial) -> Iterator[str]:
    with trial.open() as implementation:
        implementation.step(implementation.prepare(trial.x, trial.y), 0.0)
        yield _words("learning rate 0", _different(implementation.parameters(), trial.parameters))


def _trajectory(trial: Trial) -> Iterator[str]:
    steps = [rows for _ in range(3) for rows in np.array_split(np.arange(trial.case.examples), 3)]
    with trial.open() as implementation:
        batches = [implementation.prepare(trial.x[rows], trial.y[rows]) for rows in steps[:3]]
        for batch in batches * 3:
            implementation.step(batch, 0.7)
        yield trial.step_off(implementation.parameters(), 0.7, steps)


def _epoch(trial: Trial, order: NDArray[np.intp]) -> Iterator[str]:
    size = trial.case.batch_size
    with trial.open() as implementation:
        implementation.epoch(implementation.prepare_data(trial.x, trial.y), order, 0.7)
        steps = [order[start : start + size] for start in range(0, len(order), size)]
        yield trial.step_off(implementation.parameters(), 0.7, steps)


def _epoch_in_sequence(trial: Trial) -> Iterator[str]:
    yield from _epoch(trial, np.arange(trial.case.examples))


def _epoch_in_order(trial: Trial) -> Iterator[str]:
    yield from _epoch(trial, trial.order)


def _epochs(trial: Trial) -> Iterator[str]:
    orders = [trial.order, trial.order[::-1], np.roll(trial.order, 3)]
    size = trial.case.batch_size
    with trial.open() as implementation:
        data = implementation.prepare_data(trial.x, trial.y)
        for order in orders:
            implementation.epoch(data, order, 0.7)
        steps = [order[start : start + size] for order in orders for start in range(0, len(order), size)]
        yield trial.step_off(implementation.parameters(), 0.7, steps)


@contextmanager
def warnings_as_errors() -> Iterator[None]:
    """Raise for every warning but one that tells nothing.

    For float32 matrices of five columns OpenBLAS 0.3.31 multiplies, with AVX-512, whatever lies on its stack in lanes
    that it then drops; where that is a NaN, NumPy finds the flag "invalid" set and warns, although the product is
    right. Of a product that is not, the result tells.
    """
    with warnings.catch_warnings(), np.errstate(divide="warn", over="warn", invalid="warn", under="ignore"):
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "invalid value encountered in (dot|matmul)", RuntimeWarning)
        yield


def _saturated(trial: Trial) -> Iterator[str]:
    parameters = _saturate(trial.parameters)
    everything = np.arange(trial.case.examples)
    expected = oracle_epoch(parameters, trial.x, trial.y, everything, trial.case.examples, 0.7, trial.cost)
    with warnings_as_errors(), trial.open() as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(trial.x, trial.y)
        yield trial.gradient_off(implementation.gradients(batch), parameters=parameters)
        implementation.step(batch, 0.7)
        found = implementation.parameters()
        yield _words("step", _off_after(found, parameters, expected, trial.case.examples, trial.dtype))


def _saturate(parameters: Parameters) -> Parameters:
    """Push every other unit to |z| of about 1,000 or 100, where exp overflows in float64 or in float32.

    The other half stays as it is, so that a gradient's norm keeps its meaning.
    """
    biases = []
    for b in parameters.biases:
        push = np.resize(np.array([0.0, 1000.0, 0.0, -1000.0, 0.0, 100.0, 0.0, -100.0]), len(b))  # (n_out,)
        biases.append((b + push).astype(b.dtype))
    return Parameters(parameters.weights, biases)


def _extreme(trial: Trial) -> Iterator[str]:
    with warnings_as_errors(), trial.open() as implementation:
        batch = implementation.prepare(trial.x * 1000, trial.y)  # all units of the first layer are saturated
        implementation.step(batch, 0.7)
        for what, found in (("gradients", implementation.gradients(batch)), ("step", implementation.parameters())):
            infinite = [name for name, tensor in _tensors(found) if not np.all(np.isfinite(tensor))]
            yield _words(what, f"{', '.join(infinite)} not finite" if infinite else "")


def _fortran(array: Array) -> Array:
    return np.asfortranarray(array)


def _strided(array: Array) -> Array:
    """Return the same numbers in every other place of a larger array, from back to front."""
    wide = np.full([2 * n for n in array.shape], np.nan if array.dtype.kind == "f" else -1, array.dtype)
    view = wide[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view


def _read_only(array: Array) -> Array:
    array = array.copy()
    array.setflags(write=False)
    return array


def _layout(arrange: Callable[[Array], Array]) -> Run:
    def run(trial: Trial) -> Iterator[str]:
        weights, biases = trial.parameters
        size = trial.case.batch_size
        x, y, order = arrange(trial.x), arrange(trial.y), arrange(trial.order)
        with trial.open() as implementation:
            implementation.load(Parameters([arrange(W) for W in weights], [arrange(b) for b in biases]))
            found = implementation.gradients(implementation.prepare(x[:size], y[:size]))
            yield trial.gradient_off(found, slice(size))
            implementation.step(implementation.prepare(x[:size], y[:size]), 0.7)
            yield _words("step", trial.step_off(implementation.parameters(), 0.7, [np.arange(size)]))
            implementation.load(trial.parameters)
            implementation.epoch(implementation.prepare_data(x, y), order, 0.7)
            steps = [trial.order[start : start + size] for start in range(0, len(order), size)]
            yield _words("epoch", trial.step_off(implementation.parameters(), 0.7, steps))

    return run


def _inputs_unchanged(trial: Trial) -> Iterator[str]:
    size = trial.case.batch_size
    watch = _Watch(trial.parameters, x=trial.x, y=trial.y, order=trial.order)
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x[:size], trial.y[:size])
        data = implementation.prepare_data(trial.x, trial.y)
        yield _words("load and prepare", watch.changed())
        implementation.gradients(batch)
        yield _words("gradients", watch.changed())
        implementation.step(batch, 0.7)
        yield _words("step", watch.changed())
        implementation.epoch(data, trial.order, 0.7)
        yield _words("epoch", watch.changed())


def _parameters_unchanged(trial: Trial) -> Iterator[str]:
    with trial.open() as implementation:
        implementation.gradients(implementation.prepare(trial.x, trial.y))
        yield _words("after gradients", _different(implementation.parameters(), trial.parameters))


def _first_again(trial: Trial) -> Iterator[str]:
    halves = [slice(0, trial.case.batch_size), slice(trial.case.batch_size, None)]
    with trial.open() as implementation:
        batches = [implementation.prepare(trial.x[half], trial.y[half]) for half in halves]
        for call, half in enumerate((0, 1, 0, 0)):
            fault = trial.gradient_off(implementation.gradients(batches[half]), halves[half])
            yield _words(f"call {call + 1}", fault)


def _smaller_after_larger(trial: Trial) -> Iterator[str]:
    size = trial.case.batch_size
    with trial.open() as implementation:
        implementation.gradients(implementation.prepare(trial.x[:size], trial.y[:size]))
        for count in (size - 1, 1, size):
            batch = implementation.prepare(trial.x[:count], trial.y[:count])
            fault = trial.gradient_off(implementation.gradients(batch), slice(count))
            yield _words(f"{count} examples after {size}", fault)


def _nan_forgotten(trial: Trial) -> Iterator[str]:
    size = trial.case.batch_size
    with trial.open() as implementation:
        with suppress(ValueError):  # NaN may be refused
            implementation.gradients(implementation.prepare(np.full_like(trial.x[:size], np.nan), trial.y[:size]))
        found = implementation.gradients(implementation.prepare(trial.x[:size], trial.y[:size]))
        yield _words("after a mini-batch of NaN", trial.gradient_off(found, slice(size)))


def _nan(trial: Trial) -> Iterator[str]:
    x, y, weights = trial.x.copy(), trial.y.copy(), [W.copy() for W in trial.parameters.weights]
    x[-1, 0] = y[-1, 0] = weights[-1][0, 0] = np.nan
    spoilt = Parameters(weights, trial.parameters.biases)
    everything = np.arange(trial.case.examples)
    cases = (("x", trial.parameters, x, trial.y), ("y", trial.parameters, trial.x, y), ("W", spoilt, trial.x, trial.y))
    with trial.open() as implementation:
        for where, parameters, x_, y_ in cases:
            implementation.load(parameters)
            with suppress(ValueError):  # NaN may be refused
                batch = implementation.prepare(x_, y_)
                expected = oracle_gradients(parameters, x_, y_, trial.cost)
                yield _words(f"NaN in {where}, gradients", _swallowed(implementation.gradients(batch), expected))
                implementation.step(batch, 0.7)
                expected = oracle_epoch(parameters, x_, y_, everything, len(everything), 0.7, trial.cost)
                yield _words(f"NaN in {where}, step", _swallowed(implementation.parameters(), expected))


def _aliasing(trial: Trial) -> Iterator[str]:
    size = trial.case.batch_size
    with trial.open() as implementation:
        first_batch = implementation.prepare(trial.x[:size], trial.y[:size])
        second_batch = implementation.prepare(trial.x[size:], trial.y[size:])
        first = implementation.gradients(first_batch)
        kept = Parameters([np.array(W) for W in first.weights], [np.array(b) for b in first.biases])
        second = implementation.gradients(second_batch)
        yield _words("the first result after the second call", _different(first, kept))
        implementation.step(second_batch, 0.7)
        yield _words("the first result after a step", _different(first, kept))
        named = [(f"{call} {name}", tensor) for call, result in
                 (("first", first), ("second", second), ("parameters'", implementation.parameters()))
                 for name, tensor in _tensors(result)]  # fmt: skip
        named += [("x", trial.x), ("y", trial.y)]
        shared = [f"{a} and {b}" for (a, A), (b, B) in combinations(named, 2) if np.shares_memory(A, B)]
        yield f"shared memory: {', '.join(shared)}" if shared else ""


def _parameters_copied(trial: Trial) -> Iterator[str]:
    with trial.open() as implementation:
        yield _words("after load", _different(implementation.parameters(), trial.parameters))
        for _, tensor in _tensors(implementation.parameters()):
            tensor[...] = 7.0
        yield _words("after writing to a copy", _different(implementation.parameters(), trial.parameters))
        mine = Parameters([W.copy() for W in trial.parameters.weights], [b.copy() for b in trial.parameters.biases])
        implementation.load(mine)
        for _, tensor in _tensors(mine):
            tensor[...] = 7.0
        yield _words("after writing to what was loaded", _different(implementation.parameters(), trial.parameters))
        before = implementation.parameters()
        implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
        yield _words("parameters() of before a step", _different(before, trial.parameters))


def _load_resets(trial: Trial) -> Iterator[str]:
    everything = np.arange(trial.case.examples)
    other = trial.draw_parameters()
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x, trial.y)
        implementation.load(other)
        for _ in range(3):
            implementation.step(batch, 0.7)
        implementation.load(trial.parameters)
        yield _words("parameters", _different(implementation.parameters(), trial.parameters))
        yield _words("gradients", trial.gradient_off(implementation.gradients(batch)))
        implementation.step(batch, 0.7)
        yield _words("step", trial.step_off(implementation.parameters(), 0.7, [everything]))


def _independent(trial: Trial) -> Iterator[str]:
    other = trial.draw_parameters()
    with trial.open() as one, trial.open() as two:
        two.load(other)
        batches = [implementation.prepare(trial.x, trial.y) for implementation in (one, two)]
        found = [implementation.gradients(batch) for implementation, batch in zip((one, two), batches, strict=True)]
        yield _words("first of two instances", trial.gradient_off(found[0]))
        yield _words("second of two instances", trial.gradient_off(found[1], parameters=other))


def _more_threads(trial: Trial) -> Iterator[str]:
    threads = trial.case.examples + trial.threads
    crowded = Trial(trial.factory, trial.dtype, threads, trial.case)
    for what, run in (("gradients", _gradient), ("step", _step), ("epoch", _epoch_in_order)):
        for fault in run(crowded):
            yield _words(f"{what} with {threads} threads", fault)


def _bad_load(trial: Trial) -> Iterator[str]:
    (*first_W, W), (*first_b, b) = trial.parameters
    weights, biases = trial.parameters
    other = np.float32 if trial.dtype == "float64" else np.float64
    bad = {
        "transposed weights": Parameters([*first_W, W.T.copy()], biases),
        "weights of one row": Parameters([*first_W, W[:1]], biases),
        "a bias as a column": Parameters(weights, [*first_b, b[:, np.newaxis]]),
        "a bias of one number": Parameters(weights, [*first_b, b[:1]]),
        "a layer of weights missing": Parameters(first_W, biases),
        "a bias missing": Parameters(weights, first_b),
        "a layer too many": Parameters([*weights, W], [*biases, b]),
        f"weights in {np.dtype(other)}": Parameters([*first_W, W.astype(other)], biases),
        f"biases in {np.dtype(other)}": Parameters(weights, [*first_b, b.astype(other)]),
    }
    with trial.open() as implementation:
        for what, parameters in bad.items():
            yield _not_refused(what, implementation.load, parameters)


def _partial_load(trial: Trial) -> Iterator[str]:
    other = trial.draw_parameters()
    with trial.open() as implementation:
        for what, bad in (
            ("weights", Parameters([*other.weights[:-1], other.weights[-1][:, :-1]], other.biases)),
            ("biases", Parameters(other.weights, [*other.biases[:-1], other.biases[-1][:-1]])),
        ):
            with suppress(Exception):
                implementation.load(bad)
            fault = _different(implementation.parameters(), trial.parameters)
            yield _words(f"after a load that failed at the last {what}", fault)


def _bad_examples(method: str) -> Run:
    def run(trial: Trial) -> Iterator[str]:
        x, y = trial.x, trial.y
        other = np.float32 if trial.dtype == "float64" else np.float64
        bad = {
            "x with one column too few": (x[:, :-1], y),
            "x of one column": (x[:, :1], y),
            "y with one column too few": (x, y[:, :-1]),
            "y of one column": (x, y[:, :1]),
            "one example as a vector": (x[0], y[0]),
            "a stack of columns": (x[:, :, np.newaxis], y[:, :, np.newaxis]),
            "fewer examples in x": (x[:-1], y),
            "one example in y": (x, y[:1]),
            "no examples": (x[:0], y[:0]),
            f"x in {np.dtype(other)}": (x.astype(other), y),
            f"y in {np.dtype(other)}": (x, y.astype(other)),
            "y of integers": (x, np.ones(y.shape, np.int64)),
        }
        with trial.open() as implementation:
            for what, (x_bad, y_bad) in bad.items():
                yield _not_refused(what, getattr(implementation, method), x_bad, y_bad)
            yield _words("after all that", trial.gradient_off(implementation.gradients(implementation.prepare(x, y))))

    return run


def _too_large(trial: Trial) -> Iterator[str]:
    with trial.open() as implementation:
        yield _not_refused("prepare", implementation.prepare, trial.x, trial.y)


def _bad_construction(trial: Trial) -> Iterator[str]:
    sizes, size, dtype, threads = trial.case.sizes, trial.case.batch_size, trial.dtype, trial.threads
    bad: dict[str, tuple[Sequence[int], int, str, int]] = {
        "a single layer": (sizes[:1], size, dtype, threads),
        "no layers": ((), size, dtype, threads),
        "a layer of 0 units": ((sizes[0], 0, sizes[-1]), size, dtype, threads),
        "a layer of -1 units": ((sizes[0], -1, sizes[-1]), size, dtype, threads),
        "batch size 0": (sizes, 0, dtype, threads),
        "batch size -1": (sizes, -1, dtype, threads),
        "0 threads": (sizes, size, dtype, 0),
        "-1 threads": (sizes, size, dtype, -1),
        "dtype int64": (sizes, size, "int64", threads),
        "dtype complex128": (sizes, size, "complex128", threads),
    }
    for what, arguments in bad.items():
        yield _not_refused(what, trial.factory, *arguments)


def _close_twice(trial: Trial) -> Iterator[str]:
    implementation = trial.open()
    implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
    implementation.close()
    implementation.close()
    with trial.open() as unused:
        unused.close()
    yield ""


def _not_refused(what: str, function: Callable[..., object], *arguments: object) -> str:
    """Say that a call does not raise ValueError, or does so without a word."""
    try:
        function(*arguments)
    except ValueError as error:
        return "" if str(error) else f"{what}: the ValueError says nothing"
    except Exception as error:
        return f"{what}: expected ValueError, got {type(error).__name__}: {error}"
    return f"{what}: expected ValueError, was accepted"


def _words(where: str, fault: str) -> str:
    return f"{where}: {fault}" if fault else ""


@dataclass(frozen=True)
class Check:
    """A row of the table: a name, what is run, and the cases on which it runs."""

    name: str
    run: Run
    cases: Sequence[Case]


SHALLOW = [Case((5, 3), 4, 4), Case((6, 5, 4), 7, 7), Case((1, 2, 1), 3, 3), Case((67, 33, 17), 65, 65)]
BOOK = [Case((784, 30, 10), 10, 10)]
SQUARE = [Case((4, 4, 4), 5, 5), Case((4, 4, 4), 4, 4), Case((5, 5, 5, 5), 3, 3)]
DEEP = [Case((7, 6, 5, 3), 6, 6), Case((5, 7, 4, 6, 3), 5, 5), Case((6, 5, 7, 4, 8, 3), 8, 8)]
ONE = [Case((6, 5, 4), 1, 1), Case((4, 5, 4, 3), 1, 1), Case((4, 4, 4), 7, 1)]
BELOW = [Case((6, 5, 4), 7, 3), Case((7, 6, 5, 3), 16, 13), Case((5, 4, 3), 64, 2)]
SMALL = [Case((7, 6, 5, 3), 6, 6)]
WHOLE_BATCHES = [Case((6, 5, 4), 4, 12)]
SHORT_LAST_BATCH = [Case((6, 5, 4), 4, 11), Case((7, 6, 5, 3), 5, 6), Case((6, 5, 4), 8, 3)]
TWO_BATCHES = [Case((7, 6, 5, 3), 5, 10)]
TOO_MANY = [Case((6, 5, 4), 4, 5), Case((6, 5, 4), 1, 2)]
WIDE = [Case((16, 16, 16, 16), 9, 9)]
FEW = [Case((6, 5, 4), 1, 1), Case((5, 2, 3, 1), 2, 2)]

CHECKS = (
    Check("gradient", _gradient, SHALLOW + BOOK),
    Check("equal-widths", _gradient, SQUARE),
    Check("deep-network", _gradient, DEEP),
    Check("one-example", _gradient, ONE),
    Check("smaller-batch", _gradient, BELOW),
    Check("smaller-after-larger", _smaller_after_larger, SMALL),
    Check("result-type", _result_type, SMALL),
    Check("step", _step, SHALLOW + BOOK + SQUARE + DEEP + ONE + BELOW),
    Check("no-learning", _no_learning, SMALL),
    Check("trajectory", _trajectory, [Case((7, 6, 5, 3), 6, 16)]),
    Check("epoch", _epoch_in_sequence, WHOLE_BATCHES),
    Check("epoch-order", _epoch_in_order, WHOLE_BATCHES),
    Check("short-last-batch", _epoch_in_sequence, SHORT_LAST_BATCH),
    Check("several-epochs", _epochs, SHORT_LAST_BATCH),
    Check("saturated", _saturated, WIDE),
    Check("extreme-input", _extreme, WIDE),
    Check("fortran-ordered", _layout(_fortran), TWO_BATCHES),
    Check("non-contiguous", _layout(_strided), TWO_BATCHES),
    Check("read-only", _layout(_read_only), TWO_BATCHES),
    Check("inputs-unchanged", _inputs_unchanged, TWO_BATCHES),
    Check("parameters-unchanged", _parameters_unchanged, SMALL),
    Check("first-again", _first_again, TWO_BATCHES),
    Check("aliasing", _aliasing, TWO_BATCHES),
    Check("parameters-copied", _parameters_copied, SMALL),
    Check("load-resets", _load_resets, SMALL),
    Check("independent-instances", _independent, SMALL),
    Check("more-threads-than-examples", _more_threads, FEW),
    Check("nan", _nan, SMALL),
    Check("nan-forgotten", _nan_forgotten, SMALL),
    Check("batch-too-large", _too_large, TOO_MANY),
    Check("bad-load", _bad_load, SMALL),
    Check("partial-load", _partial_load, SMALL),
    Check("bad-batch", _bad_examples("prepare"), SMALL),
    Check("bad-data", _bad_examples("prepare_data"), SMALL),
    Check("bad-construction", _bad_construction, SMALL),
    Check("close-twice", _close_twice, SMALL),
)


def check(
    factory: Factory, dtypes: Sequence[str] = ("float64", "float32"), threads: Sequence[int] = (1, 2, 3)
) -> list[Violation]:
    """Return every violation of the contract that the whole kit finds; an exception is a violation, too.

    `factory` is called as factory(sizes, batch_size, dtype, threads) and is normally the class itself; of `dtypes`,
    those that it declares are tried. Raises ValueError if that leaves none, or one that has no tolerance.
    """
    offered = getattr(factory, "dtypes", None)
    tried = [dtype for dtype in dtypes if offered is None or dtype in offered]
    settings = [(dtype, count) for dtype in tried for count in threads]
    if not settings:
        raise ValueError(f"dtypes: expected some of {offered}, got {tuple(dtypes)}; nothing would be checked")
    for dtype in tried:
        _tolerance(dtype)
    found = []
    for row in CHECKS:
        for case in row.cases:
            trials = [Trial(factory, dtype, count, case) for dtype, count in settings]
            details = [detail for detail in (_detail(row.run, trial) for trial in trials) if detail]
            if details:
                more = f" (so or similar in {len(details)} of {len(trials)} dtypes and threads)" if details[1:] else ""
                found.append(Violation(row.name, details[0] + more))
    return found


def _detail(run: Run, trial: Trial) -> str:
    """Run one check on one case; return in one line what is off or was raised, "" for nothing."""
    faults: list[str] = []
    try:
        faults.extend(fault for fault in run(trial) if fault)
    except (Exception, SystemExit) as error:
        faults.append(f"raised {type(error).__name__}: {error}")
    return " ".join(f"{trial}: {'; '.join(faults)}".split()) if faults else ""


def _tolerance(dtype: str) -> float:
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype: there are tolerances for {' and '.join(TOLERANCES)}, got {dtype}")
    return TOLERANCES[dtype]
