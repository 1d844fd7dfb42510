"""Wrong results: implementations with one bug that somebody once made, and the checks that must reject it.

All derive from `Correct` and change no more than the bug needs.
"""

from typing import Any

import numpy as np
from correct_code import Correct, rejected_by
from numpy.typing import NDArray

from impls.conformance.reference import elementwise
from impls.interface import Array, Batch, Parameters

# --- The gradient ------------------------------------------------------------------------------------------------


@rejected_by("gradient", "step")
class SumInsteadOfMean(Correct):
    """The factor 1/B is missing."""

    def mean_over(self, y: Array) -> int:
        return 1


@rejected_by("smaller-batch", "short-last-batch")
class MeanOverWorkSpace(Correct):
    """Divides by the largest batch size instead of the number of examples."""

    def mean_over(self, y: Array) -> int:
        return self.batch_size


@rejected_by("equal-widths")
class TransposedWhenSquare(Correct):
    """Multiplies with W or W.T, whichever fits; if both fit, it takes the wrong one."""

    def back(self, delta: Array, layer: int) -> Array:
        W = self.weights[layer]
        return delta @ (W.T if W.shape[1] == delta.shape[1] else W)


@rejected_by("deep-network", "equal-widths")
class StaleDelta(Correct):
    """Starts every layer from the output's delta: correct only with one hidden layer."""

    def back(self, delta: Array, layer: int) -> Array:
        if layer == len(self.weights) - 1:
            self.output_delta = delta
        return super().back(self.output_delta, layer)


@rejected_by("one-example")
class Squeezed(Correct):
    """Squeezes the axis of examples away if there is only one."""

    def bias_gradient(self, delta: Array) -> Array:
        return np.squeeze(delta).sum(axis=0)  # type: ignore[no-any-return]


@rejected_by("gradient")
class Float32InsideFloat64(Correct):
    """Computes in float32, whatever the dtype."""

    def gradients(self, batch: Batch) -> Parameters:
        kept = self.weights
        self.weights = [W.astype(np.float32) for W in kept]
        result = super().gradients(Batch(batch.x.astype(np.float32), batch.y.astype(np.float32)))
        self.weights = kept
        return elementwise(lambda g: g.astype(self.dtype), result)


@rejected_by("gradient")
class Float16InsideFloat32(Correct):
    """Rounds the factors of one product to the 11 bits of float16 and of TF32."""

    def back(self, delta: Array, layer: int) -> Array:
        if self.dtype == np.float64:
            return super().back(delta, layer)
        scale = 1024.0  # away from float16's subnormal numbers
        rounded = (delta * scale).astype(np.float16).astype(delta.dtype) / scale
        return rounded @ self.weights[layer].astype(np.float16).astype(delta.dtype)  # type: ignore[no-any-return]


@rejected_by("result-type")
class Float64Result(Correct):
    """Returns float64 for a float32 network."""

    def gradients(self, batch: Batch) -> Parameters:
        return elementwise(lambda g: g.astype(np.float64), super().gradients(batch))


@rejected_by("parameters-unchanged")
class GradientLearns(Correct):
    """Shrinks weights as a side effect."""

    def gradients(self, batch: Batch) -> Parameters:
        result = super().gradients(batch)
        self.weights[0] *= 0.99
        return result


@rejected_by("gradient", "close-twice")
class Exits(Correct):
    """Ends the process instead of raising an error."""

    def gradients(self, batch: Batch) -> Parameters:
        raise SystemExit(3)


# --- At the edges of floating point ------------------------------------------------------------------------------


@rejected_by("saturated")
class ClippedSigmoid(Correct):
    """Clips z where exp does not overflow by far, so saturated units keep a slope."""

    def sigmoid(self, z: Array) -> Array:
        return 1 / (1 + np.exp(-np.clip(z, -15, 15)))  # type: ignore[no-any-return]


@rejected_by("extreme-input")
class InfiniteSlope(Correct):
    """Divides infinity by infinity in exp(-z) / (1 + exp(-z)), with the warnings switched off."""

    def sigmoid(self, z: Array) -> Array:
        with np.errstate(all="ignore"):
            return 1 - np.exp(-z) / (1 + np.exp(-z))  # type: ignore[no-any-return]


@rejected_by("nan")
class NanClipped(Correct):
    """Clips z with fmax, which replaces NaN by the bound."""

    def sigmoid(self, z: Array) -> Array:
        return super().sigmoid(np.fmax(z, -700))


@rejected_by("nan-forgotten")
class NanRemembered(Correct):
    """Clears a buffer by multiplying it by zero, which keeps NaN."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.delta = np.zeros((self.batch_size, self.sizes[-1]), self.dtype)  # (B, n_L)

    def backward(self, activations: list[Array], y: Array) -> Parameters:
        difference = self.delta[: len(y)]
        difference *= 0
        difference += activations[-1] - y
        return super().backward(activations, activations[-1] - difference)


# --- The step and the epoch --------------------------------------------------------------------------------------


@rejected_by("step", "many-steps")
class SumInStep(Correct):
    """Returns the mean as the gradient, but steps by the sum."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        super().step(batch, learning_rate * len(batch.x))


@rejected_by("step", "no-learning")
class WeightDecay(Correct):
    """Shrinks the weights a little at each step."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        super().step(batch, learning_rate)
        for W in self.weights:
            np.multiply(W, 0.999, out=W)


@rejected_by("many-steps", "load-resets")
class Momentum(Correct):
    """Adds half of the last step, even across a load."""

    last: Parameters | None = None

    def step(self, batch: Batch, learning_rate: float) -> None:
        gradient = self.gradients(batch)
        super().step(batch, learning_rate)
        if self.last is not None:
            self.subtract(self.last, learning_rate / 2)
        self.last = gradient


@rejected_by("short-last-batch")
class DropsLastBatch(Correct):
    """Drops the last, smaller mini-batch."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order[: len(order) // self.batch_size * self.batch_size], learning_rate)


@rejected_by("epoch-order", "several-epochs")
class IgnoresOrder(Correct):
    """Goes through the examples as they are stored."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, np.sort(order), learning_rate)


@rejected_by("several-epochs")
class ShufflesData(Correct):
    """Shuffles its copy of the data in place, so the next epoch's order means other examples."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(x.copy(), y.copy())

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order, learning_rate)
        data.x[:], data.y[:] = data.x[order], data.y[order]


@rejected_by("epoch-of-some")
class EachExampleOnce(Correct):
    """Goes through the examples of each mini-batch as a set."""

    def take(self, data: Any, indices: NDArray[np.intp]) -> Batch:
        once = indices[np.sort(np.unique(indices, return_index=True)[1])]
        return super().take(data, once)  # type: ignore[no-any-return]


@rejected_by("long-epoch")
class EndsEpochEarly(Correct):
    """Ends an epoch after 64 mini-batches."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order[: 64 * self.batch_size], learning_rate)


@rejected_by("many-steps")
class GivesUp(Correct):
    """Does nothing from its 100th step on."""

    steps = 0

    def step(self, batch: Batch, learning_rate: float) -> None:
        self.steps += 1
        if self.steps < 100:
            super().step(batch, learning_rate)


@rejected_by("pending-work")
class Queues(Correct):
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
class Remembers(Correct):
    """Remembers where the first steps after a load led, by the parameters and the memory of the mini-batch."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        memory = self.__dict__.setdefault("memory", {})
        key = self.weights[0].tobytes(), batch.x.ctypes.data
        if key not in memory:
            super().step(batch, learning_rate)
            memory[key] = self.parameters()
        self.load(memory[key])
