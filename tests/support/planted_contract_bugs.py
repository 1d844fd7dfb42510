"""Broken contracts besides wrong results: implementations with one bug each, and the checks that must reject it.

All derive from `Correct` and change no more than the bug needs.
"""

import threading
from typing import Any, ClassVar

import numpy as np
from correct_code import Correct, rejected_by
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from impls.conformance.reference import elementwise
from impls.interface import Array, Batch, Parameters

# --- State and memory --------------------------------------------------------------------------------------------


@rejected_by("aliasing")
class ReusedResult(Correct):
    """Returns the same buffers from every call."""

    def gradients(self, batch: Batch) -> Parameters:
        if not hasattr(self, "result"):
            self.result = super().gradients(batch)
        elementwise(np.copyto, self.result, super().gradients(batch))
        return self.result


@rejected_by("first-again")
class OnePreparedBatch(Correct):
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
class StaleWorkSpace(Correct):
    """Sums the bias gradient over the whole buffer, where a larger mini-batch may have left deltas."""

    def bias_gradient(self, delta: Array) -> Array:
        spaces: dict[int, Array] = self.__dict__.setdefault("spaces", {})
        space = spaces.setdefault(delta.shape[1], np.zeros((self.batch_size, delta.shape[1]), self.dtype))
        space[: len(delta)] = delta
        return space.sum(axis=0)  # type: ignore[no-any-return]


@rejected_by("independent-instances")
class SharedParameters(Correct):
    """Shares one set of parameters among all instances."""

    shared: ClassVar[dict[tuple[tuple[int, ...], str], Parameters]] = {}

    def load(self, parameters: Parameters) -> None:
        mine = self.shared.setdefault((self.sizes, self.dtype.name), Parameters(self.weights, self.biases))
        self.weights, self.biases = mine
        super().load(parameters)


@rejected_by("inputs-unchanged", "read-only")
class OverwritesTargets(Correct):
    """Computes a - y in the memory of y."""

    def gradients(self, batch: Batch) -> Parameters:
        activations = self.forward(batch.x)
        np.subtract(activations[-1], batch.y, out=batch.y)
        return self.backward(activations, activations[-1] - batch.y)


@rejected_by("inputs-unchanged", "read-only")
class SortsOrder(Correct):
    """Sorts each mini-batch of the order in place, to read memory sequentially."""

    def take(self, data: Any, indices: NDArray[np.intp]) -> Batch:
        indices.sort()
        return super().take(data, indices)  # type: ignore[no-any-return]


@rejected_by("parameters-copied")
class ReturnsItsParameters(Correct):
    """Returns its own arrays."""

    def parameters(self) -> Parameters:
        return Parameters(self.weights, self.biases)


@rejected_by("parameters-copied", "inputs-unchanged", "read-only")
class KeepsLoadedArrays(Correct):
    """Keeps the caller's arrays instead of copies."""

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self.weights, self.biases = list(parameters.weights), list(parameters.biases)


@rejected_by("fortran-ordered")
class TakesMemoryOrder(Correct):
    """Copies inputs in the order of memory."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        super().prepare_data(x, y)
        return Batch(x.ravel(order="K").reshape(x.shape), y.ravel(order="K").reshape(y.shape))


@rejected_by("non-contiguous")
class IgnoresStrides(Correct):
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
class WantsWritable(Correct):
    """Accepts only writable buffers, as compiled code often does."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x.data.cast("B")[:1] = x.data.cast("B")[:1]
        return super().prepare_data(x, y)  # type: ignore[no-any-return]


# --- Threads and life cycle --------------------------------------------------------------------------------------


@rejected_by("more-threads-than-examples")
class SharesOfNothing(Correct):
    """Gives each thread B // threads examples, and the last one the rest."""

    def gradients(self, batch: Batch) -> Parameters:
        count, share = len(batch.x), len(batch.x) // self.threads
        parts = [Batch(*(array[start : start + share] for array in batch)) for start in range(0, count, share)]
        gradients = [super(SharesOfNothing, self).gradients(part) for part in parts]
        return elementwise(
            lambda *tensors: sum(len(p.x) * g for p, g in zip(parts, tensors, strict=True)) / count, *gradients
        )


@rejected_by("close-twice")
class ClosesOnce(Correct):
    """Fails when closed a second time."""

    def close(self) -> None:
        del self.weights


@rejected_by("construction")
class ForgetsThreads(Correct):
    """Drops the number of threads on the way to the contract's constructor."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments[:3])


@rejected_by("left-behind")
class LeavesThread(Correct):
    """Starts a thread for each instance that `close` does not end."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        forever = threading.Event()
        threading.Thread(target=forever.wait, daemon=True).start()


@rejected_by("left-behind")
class LeavesBlasLimited(Correct):
    """Holds BLAS at one thread, and leaves it there."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.blas = threadpool_limits(limits=1, user_api="blas")


# --- Bad input ---------------------------------------------------------------------------------------------------


@rejected_by("bad-load")
class LoadsAnything(Correct):
    """Loads any shape that broadcasts."""

    def check_parameters(self, parameters: Parameters) -> None:
        pass


@rejected_by("partial-load")
class LoadsAsItChecks(Correct):
    """Copies each array before it checks the next."""

    def load(self, parameters: Parameters) -> None:
        for mine, theirs in zip(self.weights + self.biases, parameters.weights + parameters.biases, strict=True):
            if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
                raise ValueError(f"expected {mine.shape} of {mine.dtype}, got {theirs.shape} of {theirs.dtype}")
            np.copyto(mine, theirs)


@rejected_by("bad-batch", "bad-data")
class PreparesAnything(Correct):
    """Casts and broadcasts any input."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        return Batch(
            np.broadcast_to(x, (len(x), self.sizes[0])).astype(self.dtype),
            np.broadcast_to(y, (len(x), self.sizes[-1])).astype(self.dtype),
        )


@rejected_by("bad-data")
class WrongErrorType(Correct):
    """Reports a wrong shape as an IndexError."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        try:
            return super().prepare_data(x, y)  # type: ignore[no-any-return]
        except ValueError as error:
            raise IndexError(str(error)) from error


@rejected_by("batch-too-large")
class AnyBatchSize(Correct):
    """Accepts mini-batches larger than its batch size."""

    def prepare(self, x: Array, y: Array) -> Batch:
        return self.prepare_data(x, y)  # type: ignore[no-any-return]


@rejected_by("bad-construction")
class ConstructsAnything(Correct):
    """Accepts a number of threads below 1."""

    def __init__(self, *arguments: Any) -> None:
        sizes, batch_size, dtype, threads = arguments
        super().__init__(sizes, batch_size, dtype, max(threads, 1))
