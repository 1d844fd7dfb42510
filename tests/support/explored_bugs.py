"""Wrong implementations that pass all named checks, each in a case that no named check has: for the exploration.

All derive from `Correct`, which conforms, and change no more than the bug needs.
"""

from typing import Any, ClassVar

import numpy as np
from correct_code import Correct
from numpy.typing import NDArray

from impls.conformance.reference import elementwise
from impls.interface import Array, Batch, Implementation, Parameters

EXPLORED_BUGS: list[type[Implementation]] = []


def planted(bug: type[Implementation]) -> type[Implementation]:
    EXPLORED_BUGS.append(bug)
    return bug


# --- Shapes ------------------------------------------------------------------------------------------------------


@planted
class DeepBias(Correct):
    """Loses the sixth layer's bias gradient."""

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = super().gradients(batch)
        return Parameters(dW, [g * (layer != 5) for layer, g in enumerate(db)])


@planted
class OneHiddenUnit(Correct):
    """Takes the delta's mean over a hidden layer of one unit for its sum over the examples."""

    def back(self, delta: Array, layer: int) -> Array:
        shadow = super().back(delta, layer)
        return shadow * (0.5 if shadow.shape[1] == 1 and len(shadow) > 1 else 1.0)


@planted
class LosesTheRest(Correct):
    """From four threads on, each takes B // threads examples, and what is left over is lost."""

    def gradients(self, batch: Batch) -> Parameters:
        count = len(batch.x)
        if self.threads < 4 or count <= self.threads:
            return super().gradients(batch)
        used = count // self.threads * self.threads
        result = super().gradients(Batch(batch.x[:used], batch.y[:used]))
        return elementwise(lambda g: g * used / count, result)


# --- Numbers -----------------------------------------------------------------------------------------------------


@planted
class ClipsInputs(Correct):
    """Clips the inputs as if they were pixels, at 20."""

    def forward(self, x: Array) -> list[Array]:
        activations = super().forward(np.clip(x, -20, 20))
        return [x, *activations[1:]]


@planted
class ClipsTargets(Correct):
    """Clips the targets to what a sigmoid can reach."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(x, np.clip(y, 0, 1))


@planted
class RateOfTheFirstEpoch(Correct):
    """Bakes the learning rate of the first epoch into all later ones, as a traced function would."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        self.rate = getattr(self, "rate", learning_rate)
        super().epoch(data, order, self.rate)


# --- State -------------------------------------------------------------------------------------------------------


@planted
class LatestInstance(Correct):
    """Steps the parameters of the instance that was loaded last, a global variable."""

    latest: ClassVar[Any] = None

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        LatestInstance.latest = self

    def step(self, batch: Batch, learning_rate: float) -> None:
        gradient = self.gradients(batch)
        latest = self.latest if self.latest.sizes == self.sizes else self
        latest.subtract(elementwise(lambda g: g.astype(latest.dtype), gradient), learning_rate)


@planted
class RestOfALargerBatch(Correct):
    """Keeps the work space of the last step, whatever its size, for a step of a single example."""

    last: Batch | None = None

    def step(self, batch: Batch, learning_rate: float) -> None:
        if len(batch.x) == 1 and self.last is not None and len(self.last.x) > 6:
            batch = Batch(*(np.concatenate(pair) for pair in zip(batch, (a[1:] for a in self.last), strict=True)))
        self.last = Batch(batch.x.copy(), batch.y.copy())
        super().step(batch, learning_rate)


@planted
class StaleParameters(Correct):
    """Returns a snapshot of the parameters that an epoch does not refresh."""

    snapshot: Parameters | None = None

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        self.snapshot = None

    def step(self, batch: Batch, learning_rate: float) -> None:
        super().step(batch, learning_rate)
        self.snapshot = None

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        snapshot = self.snapshot
        super().epoch(data, order, learning_rate)
        self.snapshot = snapshot

    def parameters(self) -> Parameters:
        self.snapshot = self.snapshot or super().parameters()
        return elementwise(np.copy, self.snapshot)


@planted
class ScratchOfEpochs(Correct):
    """Returns the memory of the gradient that epochs use as scratch."""

    def gradients(self, batch: Batch) -> Parameters:
        self.scratch = super().gradients(batch)
        return self.scratch

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        scratch = getattr(self, "scratch", None)
        super().epoch(data, order, learning_rate)
        if scratch:
            for mine, last in zip(scratch.weights, self.scratch.weights, strict=True):
                mine[...] = last


@planted
class InferenceMode(Correct):
    """Does not step any more once a gradient was asked for after an epoch: a flag that is never cleared."""

    epochs, inference = 0, False

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        super().epoch(data, order, learning_rate)
        self.epochs += 1

    def gradients(self, batch: Batch) -> Parameters:
        self.inference = self.epochs > 0
        return super().gradients(batch)

    def step(self, batch: Batch, learning_rate: float) -> None:
        inference = self.inference
        super().step(batch, 0.0 if inference else learning_rate)
        self.inference = inference


@planted
class FreesResults(Correct):
    """Gives out results that lie in memory of its own, which `close` frees."""

    def gradients(self, batch: Batch) -> Parameters:
        gradient = super().gradients(batch)
        self.__dict__.setdefault("pool", []).append(gradient)
        return gradient

    def close(self) -> None:
        for gradient in self.__dict__.pop("pool", []):
            elementwise(lambda tensor: tensor.fill(np.nan), gradient)
