"""Beyond one machine: every rank takes a share of each mini-batch, and one Allreduce a step adds their gradients up.

All ranks run the same program and make the same calls with the same arguments, as under `mpiexec -n 4`; a process that
was not launched is one rank of its own, and adds nothing up. Another implementation, the engine, computes the
gradient of a rank's share; its tensors go into one flat buffer, each rank's weighted by its share of the examples, so
that one Allreduce gives the mean over the whole mini-batch to all ranks. Each then takes the same step.

    mini-batch       rank r of R gets the examples B r / R … B (r + 1) / R: none where R > B
    data set         rank r keeps the examples N r / R … N (r + 1) / R, and of each mini-batch those among them: the
                     mini-batches are those of one rank, in shares that differ in size by chance

What is left out on purpose: overlapping the Allreduce with the backward pass, layer by layer. The first layer of
weights is most of the buffer, and its gradient is the last one that is known.

Work space: the engine's for its share, and one gradient.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from impls.interface import Array, Batch, Implementation, Parameters
from impls.registry import find
from impls.support.ranks import Watch, agree, check_same, communicator, in_place
from impls.support.tracebacks import in_words


class Share(NamedTuple):
    """What a rank holds of a mini-batch."""

    mine: Any  # the engine's native mini-batch; None if this rank has no example of it
    part: float  # of the mini-batch's examples that are this rank's


class Shard(NamedTuple):
    """What a rank holds of a data set: the examples from `start` up to `stop` of all `examples`."""

    mine: Batch  # NumPy arrays: engines that take their own mini-batches in `epoch` need not know another way
    start: int
    stop: int
    examples: int


class Mpi(Implementation):
    """One Allreduce of one flat buffer a step; another implementation computes."""

    engine: ClassVar[str] = "in_place"  # a name in the registry
    check_every: ClassVar[int] = 1000  # steps, between two comparisons of the ranks' parameters

    @classmethod
    def with_engine(cls, engine: str) -> "type[Mpi]":
        """Return the class with another implementation of the registry as its engine."""
        computes = find(engine).load()
        attributes = {"engine": engine, "dtypes": computes.dtypes, "cost": computes.cost, "__module__": __name__}
        return type(f"{cls.__name__}[{engine}]", (cls,), attributes)

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._comm = communicator()
        self._rank, self._ranks = self._comm.rank, self._comm.size
        settings = {"batch size": batch_size, "dtype": self.dtype, "threads": threads, "engine": self.engine}
        agree(self._comm, sizes=self.sizes, **settings)
        cls = find(self.engine).load()
        self._engine = cls(sizes, batch_size, dtype, max(1, threads // self._ranks))
        # Most engines compute with the arrays `weights` and `biases`, which can be updated where they are.
        self._shared = cls.load is Implementation.load and cls.parameters is Implementation.parameters
        if self._shared:
            self.weights, self.biases = self._engine.weights, self._engine.biases
        tensors = self.weights + self.biases
        self._flat = np.zeros(sum(p.size for p in tensors) + 1, self.dtype)  # the gradient, and how many ranks failed
        ends = np.cumsum([p.size for p in tensors])
        self._gradient = [self._flat[end - p.size : end].reshape(p.shape) for p, end in zip(tensors, ends, strict=True)]
        self._steps = 0
        self._watch = Watch(self._comm, "in an Allreduce")

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        self._hand_to_engine()

    def prepare(self, x: Array, y: Array) -> Share:
        shard = super().prepare(x, y)  # checks the number of examples, then calls `prepare_data`
        return self._share(shard.mine, len(x))

    def prepare_data(self, x: Array, y: Array) -> Any:
        data = super().prepare_data(x, y)
        start, stop = self._mine(len(x))
        if self._ranks > 1:  # a copy, so that the examples of the other ranks can be freed
            data = Batch(data.x[start:stop].copy(), data.y[start:stop].copy())
        return Shard(data, start, stop, len(x))

    def take(self, data: Shard, indices: NDArray[np.intp]) -> Share:
        if indices.min() < 0 or indices.max() >= data.examples:
            raise IndexError(f"examples: expected numbers from 0 to {data.examples - 1}, got {indices}")
        held = indices[(data.start <= indices) & (indices < data.stop)] - data.start
        return self._share(Batch(data.mine.x[held], data.mine.y[held]), indices.size)

    def gradients(self, batch: Share) -> Parameters:
        self._add_up(batch, 1.0)
        copies = [dp.copy() for dp in self._gradient]
        return Parameters(copies[: len(self.weights)], copies[len(self.weights) :])

    def step(self, batch: Share, learning_rate: float) -> None:
        self._add_up(batch, learning_rate)
        for p, dp in zip(self.weights + self.biases, self._gradient, strict=True):
            np.subtract(p, dp, out=p)
        self._hand_to_engine()
        self._steps += 1
        if self._steps % self.check_every == 0:
            self.check_ranks()

    def check_ranks(self) -> None:
        """Raise RanksDiffer on all ranks unless all have the same parameters, bit for bit. A collective call."""
        check_same(self._comm, self.weights + self.biases, f"parameters after step {self._steps}")

    def close(self) -> None:
        self._watch.close()
        self._engine.close()

    def _share(self, mine: Batch, examples: int) -> Share:
        """Return this rank's examples of a mini-batch of so many in the engine's native form."""
        return Share(self._engine.prepare(*mine) if len(mine.x) else None, len(mine.x) / examples)

    def _mine(self, examples: int) -> tuple[int, int]:
        """Return where this rank's share of so many examples begins and ends."""
        return examples * self._rank // self._ranks, examples * (self._rank + 1) // self._ranks

    def _add_up(self, share: Share, scale: float) -> None:
        """Leave the gradient of the whole mini-batch, times `scale`, in the flat buffer of every rank.

        An error on one rank travels with the sum, so that all ranks raise instead of waiting for each other.
        """
        error: Exception | None = None
        try:
            self._compute(share, scale)
        except Exception as raised:
            error = raised
            self._flat.fill(0)
            self._flat[-1] = 1
        if self._ranks > 1:
            self._allreduce()
        if self._flat[-1]:
            self._raise(error)

    def _compute(self, share: Share, scale: float) -> None:
        """Write this rank's part of the gradient into the flat buffer."""
        if share.mine is None:
            self._flat.fill(0)
            return
        dW, db = self._engine.gradients(share.mine)  # means over this rank's examples
        for mine, dp in zip(dW + db, self._gradient, strict=True):
            np.multiply(mine, scale * share.part, out=dp)
        self._flat[-1] = 0

    def _allreduce(self) -> None:
        """Add the flat buffers of all ranks up, on all ranks."""
        with self._watch:
            self._comm.Allreduce(in_place(), self._flat)

    def _raise(self, error: Exception | None) -> None:
        """Raise this rank's own error, or that of the first rank that has one, on all ranks."""
        messages = self._comm.allgather("" if error is None else in_words(error))
        if error is not None:
            raise error
        raise RuntimeError(next(f"rank {rank} failed: {message}" for rank, message in enumerate(messages) if message))

    def _hand_to_engine(self) -> None:
        if not self._shared:
            self._engine.load(Parameters(self.weights, self.biases))
