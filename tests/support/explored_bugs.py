"""Wrong implementations that pass all named checks, each in a case that no named check has: for the exploration.

All derive from `Right`, which conforms, and change no more than the bug needs.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from planted_bugs import Right

from impls.interface import Array, Batch, Implementation, Parameters

EXPLORED_BUGS: list[type[Implementation]] = []


def planted(bug: type[Implementation]) -> type[Implementation]:
    EXPLORED_BUGS.append(bug)
    return bug


# --- Shapes ------------------------------------------------------------------------------------------------------


@planted
class DeepBias(Right):
    """Loses the sixth layer's bias gradient."""

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = super().gradients(batch)
        return Parameters(dW, [g * (layer != 5) for layer, g in enumerate(db)])


@planted
class OneHiddenUnit(Right):
    """Takes the delta's mean over a hidden layer of one unit for its sum over the examples."""

    def back(self, delta: Array, layer: int) -> Array:
        shadow = super().back(delta, layer)
        return shadow * (0.5 if shadow.shape[1] == 1 and len(shadow) > 1 else 1.0)


@planted
class LosesTheRest(Right):
    """From four threads on, each takes B // threads examples, and what is left over is lost."""

    def gradients(self, batch: Batch) -> Parameters:
        count = len(batch.x)
        if self.threads < 4 or count <= self.threads:
            return super().gradients(batch)
        used = count // self.threads * self.threads
        dW, db = super().gradients(Batch(batch.x[:used], batch.y[:used]))
        return Parameters([g * used / count for g in dW], [g * used / count for g in db])


# --- Numbers -----------------------------------------------------------------------------------------------------


@planted
class ClipsInputs(Right):
    """Clips the inputs as if they were pixels, at 20."""

    def forward(self, x: Array) -> list[Array]:
        activations = super().forward(np.clip(x, -20, 20))
        return [x, *activations[1:]]


@planted
class ClipsTargets(Right):
    """Clips the targets to what a sigmoid can reach."""

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(x, np.clip(y, 0, 1))


@planted
class RateOfTheFirstEpoch(Right):
    """Bakes the learning rate of the first epoch into all later ones, as a traced function would."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        self.rate = getattr(self, "rate", learning_rate)
        super().epoch(data, order, self.rate)


# --- State -------------------------------------------------------------------------------------------------------


@planted
class LatestInstance(Right):
    """Steps the parameters of the instance that was loaded last, a global variable."""

    latest: ClassVar[Any] = None

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        LatestInstance.latest = self

    def step(self, batch: Batch, learning_rate: float) -> None:
        gradient = self.gradients(batch)
        latest = self.latest if self.latest.sizes == self.sizes else self
        for p, dp in zip(latest.weights + latest.biases, gradient.weights + gradient.biases, strict=True):
            p -= learning_rate * dp.astype(p.dtype)


@planted
class RestOfALargerBatch(Right):
    """Keeps the work space of the last step, whatever its size, for a step of a single example."""

    last: Batch | None = None

    def step(self, batch: Batch, learning_rate: float) -> None:
        if len(batch.x) == 1 and self.last is not None and len(self.last.x) > 6:
            batch = Batch(*(np.concatenate(pair) for pair in zip(batch, (a[1:] for a in self.last), strict=True)))
        self.last = Batch(batch.x.copy(), batch.y.copy())
        super().step(batch, learning_rate)


@planted
class StaleParameters(Right):
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
        return Parameters([W.copy() for W in self.snapshot.weights], [b.copy() for b in self.snapshot.biases])


@planted
class ScratchOfEpochs(Right):
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
class InferenceMode(Right):
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
class FreesResults(Right):
    """Gives out results that lie in memory of its own, which `close` frees."""

    def gradients(self, batch: Batch) -> Parameters:
        gradient = super().gradients(batch)
        self.__dict__.setdefault("pool", []).append(gradient)
        return gradient

    def close(self) -> None:
        for gradient in self.__dict__.pop("pool", []):
            for tensor in gradient.weights + gradient.biases:
                tensor.fill(np.nan)
