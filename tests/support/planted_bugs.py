"""Wrong implementations, each with one bug that somebody once made, and the names of the checks that must reject it.

All derive from `Right`, which conforms, and change no more than the bug needs.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_limits

from impls.interface import Array, Batch, Implementation, Parameters

BUGS: dict[type[Implementation], frozenset[str]] = {}  # class -> checks that must reject it

Bug = type[Implementation]


def rejected_by(*checks: str) -> Callable[[Bug], Bug]:
    def add(bug: Bug) -> Bug:
        BUGS[bug] = frozenset(checks)
        return bug

    return add


def draw(sizes: tuple[int, ...], examples: int, seed: int, dtype: str = "float64") -> tuple[Parameters, Array, Array]:
    """Return random parameters, x and y."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((n_out, n_in)).astype(dtype) for n_in, n_out in pairwise(sizes)]
    biases = [rng.standard_normal(n_out).astype(dtype) for n_out in sizes[1:]]
    x, y = rng.standard_normal((examples, sizes[0])), rng.random((examples, sizes[-1]))
    return Parameters(weights, biases), x.astype(dtype), y.astype(dtype)


class Right(Implementation):
    """Conforms; split into small methods, so that a bug can replace one."""

    def gradients(self, batch: Batch) -> Parameters:
        return self.backward(self.forward(batch.x), batch.y)

    def forward(self, x: Array) -> list[Array]:
        activations = [x]
        for W, b in zip(self.weights, self.biases, strict=True):
            activations.append(self.sigmoid(activations[-1] @ W.T + b))  # (B, n_out)
        return activations

    def sigmoid(self, z: Array) -> Array:
        return 0.5 + 0.5 * np.tanh(0.5 * z)

    def backward(self, activations: list[Array], y: Array) -> Parameters:
        a = activations[-1]
        delta = (a - y) * a * (1 - a) / self.mean_over(y)  # (B, n_L)
        dW, db = [delta.T @ activations[-2]], [self.bias_gradient(delta)]
        for layer in range(len(self.weights) - 1, 0, -1):
            a = activations[layer]
            delta = self.back(delta, layer) * a * (1 - a)  # (B, n_in)
            dW.insert(0, delta.T @ activations[layer - 1])
            db.insert(0, self.bias_gradient(delta))
        return Parameters(dW, db)

    def mean_over(self, y: Array) -> int:
        return len(y)

    def back(self, delta: Array, layer: int) -> Array:
        return delta @ self.weights[layer]

    def bias_gradient(self, delta: Array) -> Array:
        return delta.sum(axis=0)  # type: ignore[no-any-return]


# --- The gradient ------------------------------------------------------------------------------------------------


@rejected_by("gradient", "step")
class SumInsteadOfMean(Right):
    """The factor 1/B is missing."""

    def mean_over(self, y: Array) -> int:
        return 1


@rejected_by("smaller-batch", "short-last-batch")
class MeanOverWorkSpace(Right):
    """Divides by the largest batch size instead of the number of examples."""

    def mean_over(self, y: Array) -> int:
        return self.batch_size


@rejected_by("equal-widths")
class TransposedWhenSquare(Right):
    """Multiplies with W or W.T, whichever fits; if both fit, it takes the wrong one."""

    def back(self, delta: Array, layer: int) -> Array:
        W = self.weights[layer]
        return delta @ (W.T if W.shape[1] == delta.shape[1] else W)


@rejected_by("deep-network", "equal-widths")
class StaleDelta(Right):
    """Starts every layer from the output's delta: correct only with one hidden layer."""

    def backward(self, activations: list[Array], y: Array) -> Parameters:
        a = activations[-1]
        delta = (a - y) * a * (1 - a) / len(y)
        dW, db = [delta.T @ activations[-2]], [delta.sum(axis=0)]
        for layer in range(len(self.weights) - 1, 0, -1):
            a = activations[layer]
            shadow = delta @ self.weights[layer] * a * (1 - a)
            dW.insert(0, shadow.T @ activations[layer - 1])
            db.insert(0, shadow.sum(axis=0))
        return Parameters(dW, db)


@rejected_by("one-example")
class Squeezed(Right):
    """Squeezes the axis of examples away if there is only one."""

    def bias_gradient(self, delta: Array) -> Array:
        return np.squeeze(delta).sum(axis=0)  # type: ignore[no-any-return]


@rejected_by("gradient")
class Float32InsideFloat64(Right):
    """Computes in float32, whatever the dtype."""

    def gradients(self, batch: Batch) -> Parameters:
        kept = self.weights
        self.weights = [W.astype(np.float32) for W in kept]
        dW, db = super().gradients(Batch(batch.x.astype(np.float32), batch.y.astype(np.float32)))
        self.weights = kept
        return Parameters([g.astype(self.dtype) for g in dW], [g.astype(self.dtype) for g in db])


@rejected_by("gradient")
class Float16InsideFloat32(Right):
    """Rounds the factors of one product to the 11 bits of float16 and of TF32."""

    def back(self, delta: Array, layer: int) -> Array:
        if self.dtype == np.float64:
            return super().back(delta, layer)
        scale = 1024.0  # away from float16's subnormal numbers
        rounded = (delta * scale).astype(np.float16).astype(delta.dtype) / scale
        return rounded @ self.weights[layer].astype(np.float16).astype(delta.dtype)  # type: ignore[no-any-return]


@rejected_by("result-type")
class Float64Result(Right):
    """Returns float64 for a float32 network."""

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = super().gradients(batch)
        return Parameters([g.astype(np.float64) for g in dW], [g.astype(np.float64) for g in db])


@rejected_by("parameters-unchanged")
class GradientLearns(Right):
    """Shrinks weights as a side effect."""

    def gradients(self, batch: Batch) -> Parameters:
        result = super().gradients(batch)
        self.weights[0] *= 0.99
        return result


@rejected_by("gradient", "close-twice")
class Exits(Right):
    """Ends the process instead of raising an error."""

    def gradients(self, batch: Batch) -> Parameters:
        raise SystemExit(3)


# --- At the edges of floating point ------------------------------------------------------------------------------


@rejected_by("saturated")
class ClippedSigmoid(Right):
    """Clips z where exp does not overflow by far, so saturated units keep a slope."""

    def sigmoid(self, z: Array) -> Array:
        return 1 / (1 + np.exp(-np.clip(z, -15, 15)))  # type: ignore[no-any-return]


@rejected_by("extreme-input")
class InfiniteSlope(Right):
    """Divides infinity by infinity in exp(-z) / (1 + exp(-z)), with the warnings switched off."""

    def sigmoid(self, z: Array) -> Array:
        with np.errstate(all="ignore"):
            return 1 - np.exp(-z) / (1 + np.exp(-z))  # type: ignore[no-any-return]


@rejected_by("nan")
class NanClipped(Right):
    """Clips z with fmax, which replaces NaN by the bound."""

    def sigmoid(self, z: Array) -> Array:
        return super().sigmoid(np.fmax(z, -700))


@rejected_by("nan-forgotten")
class NanRemembered(Right):
    """Clears a buffer by multiplying it by zero, which keeps NaN."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self.delta = np.zeros((batch_size, self.sizes[-1]), self.dtype)  # (B, n_L)

    def backward(self, activations: list[Array], y: Array) -> Parameters:
        difference = self.delta[: len(y)]
        difference *= 0
        difference += activations[-1] - y
        return super().backward(activations, activations[-1] - difference)


# --- The step and the epoch --------------------------------------------------------------------------------------


@rejected_by("step", "many-steps")
class SumInStep(Right):
    """Returns the mean as the gradient, but steps by the sum."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        super().step(batch, learning_rate * len(batch.x))


@rejected_by("step", "no-learning")
class WeightDecay(Right):
    """Shrinks the weights a little at each step."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        super().step(batch, learning_rate)
        for W in self.weights:
            np.multiply(W, 0.999, out=W)


@rejected_by("many-steps", "load-resets")
class Momentum(Right):
    """Adds half of the last step, even across a load."""

    last: Parameters | None = None

    def step(self, batch: Batch, learning_rate: float) -> None:
        gradient = self.gradients(batch)
        super().step(batch, learning_rate)
        if self.last is not None:
            for p, dp in zip(self.weights + self.biases, self.last.weights + self.last.biases, strict=True):
                p -= learning_rate * dp / 2
        self.last = gradient


@rejected_by("short-last-batch")
class DropsLastBatch(Right):
    """Drops the last, smaller mini-batch."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order[: len(order) // self.batch_size * self.batch_size], learning_rate)


@rejected_by("epoch-order", "several-epochs")
class IgnoresOrder(Right):
    """Goes through the examples as they are stored."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, np.sort(order), learning_rate)


@rejected_by("several-epochs")
class ShufflesData(Right):
    """Shuffles its copy of the data in place, so the next epoch's order means other examples."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(x.copy(), y.copy())

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order, learning_rate)
        data.x[:], data.y[:] = data.x[order], data.y[order]


@rejected_by("epoch-of-some")
class EachExampleOnce(Right):
    """Goes through the examples of each mini-batch as a set."""

    def take(self, data: Any, indices: NDArray[np.intp]) -> Batch:
        once = indices[np.sort(np.unique(indices, return_index=True)[1])]
        return super().take(data, once)  # type: ignore[no-any-return]


@rejected_by("long-epoch")
class EndsEpochEarly(Right):
    """Ends an epoch after 64 mini-batches."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order[: 64 * self.batch_size], learning_rate)


@rejected_by("many-steps")
class GivesUp(Right):
    """Does nothing from its 100th step on."""

    steps = 0

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.steps += 1
        if self.steps < 100:
            super().step(batch, learning_rate)


@rejected_by("pending-work")
class Queues(Right):
    """Only queues its steps, and takes them when the result is asked for."""

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        self.queue: list[tuple[Batch, float]] = []

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.queue.append((batch, learning_rate))

    def gradients(self, batch: Batch) -> Parameters:
        self.take_steps()
        return super().gradients(batch)

    def parameters(self) -> Parameters:
        self.take_steps()
        return super().parameters()

    def take_steps(self) -> None:
        queue, self.queue = self.queue, []
        for queued, learning_rate in queue:
            super().step(queued, learning_rate)


@rejected_by("remembered-results")
class Remembers(Right):
    """Remembers where the first steps after a load led, by the parameters and the memory of the mini-batch."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        memory = self.__dict__.setdefault("memory", {})
        key = self.weights[0].tobytes(), batch.x.ctypes.data
        if key not in memory:
            super().step(batch, learning_rate)
            memory[key] = self.parameters()
        self.load(memory[key])


# --- State and memory --------------------------------------------------------------------------------------------


@rejected_by("aliasing")
class ReusedResult(Right):
    """Returns the same buffers from every call."""

    def gradients(self, batch: Batch) -> Parameters:
        if not hasattr(self, "result"):
            self.result = super().gradients(batch)
        for mine, new in zip(self.result, super().gradients(batch), strict=True):
            for buffer, g in zip(mine, new, strict=True):
                buffer[...] = g
        return self.result


@rejected_by("first-again")
class OnePreparedBatch(Right):
    """Prepares all mini-batches in the same buffer."""

    def prepare(self, x: Array, y: Array) -> Batch:
        batch = super().prepare(x, y)
        if not hasattr(self, "buffer"):
            shapes = (self.sizes[0], self.sizes[-1])
            self.buffer = Batch(*(np.empty((self.batch_size, n), self.dtype) for n in shapes))
        for mine, new in zip(self.buffer, batch, strict=True):
            mine[: len(new)] = new
        return Batch(*(mine[: len(x)] for mine in self.buffer))


@rejected_by("smaller-after-larger")
class StaleWorkSpace(Right):
    """Sums the bias gradient over the whole buffer, where a larger mini-batch may have left deltas."""

    def bias_gradient(self, delta: Array) -> Array:
        spaces: dict[int, Array] = self.__dict__.setdefault("spaces", {})
        space = spaces.setdefault(delta.shape[1], np.zeros((self.batch_size, delta.shape[1]), self.dtype))
        space[: len(delta)] = delta
        return space.sum(axis=0)  # type: ignore[no-any-return]


@rejected_by("independent-instances")
class SharedParameters(Right):
    """Shares one set of parameters among all instances."""

    shared: ClassVar[dict[tuple[tuple[int, ...], str], Parameters]] = {}

    def load(self, parameters: Parameters) -> None:
        mine = self.shared.setdefault((self.sizes, self.dtype.name), Parameters(self.weights, self.biases))
        self.weights, self.biases = mine
        super().load(parameters)


@rejected_by("inputs-unchanged", "read-only")
class OverwritesTargets(Right):
    """Computes a - y in the memory of y."""

    def gradients(self, batch: Batch) -> Parameters:
        activations = self.forward(batch.x)
        np.subtract(activations[-1], batch.y, out=batch.y)
        return self.backward(activations, activations[-1] - batch.y)


@rejected_by("inputs-unchanged", "read-only")
class SortsOrder(Right):
    """Sorts each mini-batch of the order in place, to read memory sequentially."""

    def take(self, data: Any, indices: NDArray[np.intp]) -> Batch:
        indices.sort()
        return super().take(data, indices)  # type: ignore[no-any-return]


@rejected_by("parameters-copied")
class ReturnsItsParameters(Right):
    """Returns its own arrays."""

    def parameters(self) -> Parameters:
        return Parameters(self.weights, self.biases)


@rejected_by("parameters-copied", "inputs-unchanged", "read-only")
class KeepsLoadedArrays(Right):
    """Keeps the caller's arrays instead of copies."""

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self.weights, self.biases = list(parameters.weights), list(parameters.biases)


@rejected_by("fortran-ordered")
class TakesMemoryOrder(Right):
    """Copies inputs in the order of memory."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        super().prepare_data(x, y)
        return Batch(x.ravel(order="K").reshape(x.shape), y.ravel(order="K").reshape(y.shape))


@rejected_by("non-contiguous")
class IgnoresStrides(Right):
    """Repeats the first number instead of following the strides."""

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        for mine, theirs in zip(self.weights + self.biases, parameters.weights + parameters.biases, strict=True):
            if theirs.flags.forc:
                np.copyto(mine, theirs)
            else:
                address = np.lib.stride_tricks.as_strided(theirs, theirs.shape, np.zeros_like(theirs.strides))
                np.copyto(mine, address)


@rejected_by("read-only")
class WantsWritable(Right):
    """Accepts only writable buffers, as compiled code often does."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x.data.cast("B")[:1] = x.data.cast("B")[:1]
        return super().prepare_data(x, y)  # type: ignore[no-any-return]


# --- Threads and life cycle --------------------------------------------------------------------------------------


@rejected_by("more-threads-than-examples")
class SharesOfNothing(Right):
    """Gives each thread B // threads examples, and the last one the rest."""

    def gradients(self, batch: Batch) -> Parameters:
        share = len(batch.x) // self.threads
        starts = range(0, share * self.threads, share)
        parts = [
            super(SharesOfNothing, self).gradients(Batch(*(array[start:stop] for array in batch)))
            for start, stop in pairwise([*starts, len(batch.x)])
        ]
        counts = [stop - start for start, stop in pairwise([*starts, len(batch.x)])]
        total = [
            [sum(n * g for n, g in zip(counts, gs, strict=True)) / len(batch.x) for gs in zip(*kind, strict=True)]
            for kind in zip(*parts, strict=True)
        ]
        return Parameters(*total)


@rejected_by("close-twice")
class ClosesOnce(Right):
    """Fails when closed a second time."""

    def close(self) -> None:
        del self.weights


@rejected_by("construction")
class ForgetsThreads(Right):
    """Drops the number of threads on the way to the contract's constructor."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype)


@rejected_by("left-behind")
class LeavesThread(Right):
    """Starts a thread for each instance that `close` does not end."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        forever = threading.Event()
        threading.Thread(target=forever.wait, daemon=True).start()


@rejected_by("left-behind")
class LeavesBlasLimited(Right):
    """Holds BLAS at one thread, and leaves it there."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self.blas = threadpool_limits(limits=1, user_api="blas")


# --- Bad input ---------------------------------------------------------------------------------------------------


@rejected_by("bad-load")
class LoadsAnything(Right):
    """Loads any shape that broadcasts."""

    def check_parameters(self, parameters: Parameters) -> None:
        pass


@rejected_by("partial-load")
class LoadsAsItChecks(Right):
    """Copies each array before it checks the next."""

    def load(self, parameters: Parameters) -> None:
        layers = len(self.weights)
        if len(parameters.weights) != layers or len(parameters.biases) != layers:
            raise ValueError(f"expected {layers} layers")
        for mine, theirs in zip(self.weights + self.biases, parameters.weights + parameters.biases, strict=True):
            if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
                raise ValueError(f"expected {mine.shape} of {mine.dtype}, got {theirs.shape} of {theirs.dtype}")
            np.copyto(mine, theirs)


@rejected_by("bad-batch", "bad-data")
class PreparesAnything(Right):
    """Casts and broadcasts any input."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        return Batch(
            np.broadcast_to(x, (len(x), self.sizes[0])).astype(self.dtype),
            np.broadcast_to(y, (len(x), self.sizes[-1])).astype(self.dtype),
        )


@rejected_by("bad-data")
class WrongErrorType(Right):
    """Reports a wrong shape as an IndexError."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        try:
            return super().prepare_data(x, y)  # type: ignore[no-any-return]
        except ValueError as error:
            raise IndexError(str(error)) from error


@rejected_by("batch-too-large")
class AnyBatchSize(Right):
    """Accepts mini-batches larger than its batch size."""

    def prepare(self, x: Array, y: Array) -> Batch:
        return self.prepare_data(x, y)  # type: ignore[no-any-return]


@rejected_by("bad-construction")
class ConstructsAnything(Right):
    """Accepts a number of threads below 1."""

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, max(threads, 1))
