"""PyTorch, the whole step compiled by torch.compile: forward pass, backward pass and update in one graph.

What changed from `torch`: `backward()` and an optimizer's `step()` end a graph, so that compiling the loop of the
tutorials leaves three graphs with Python between them. Here the gradient is `torch.func.grad` of a cost that is a
function of plain tensors, and the update is written out. The learning rate is a tensor: as a number it would be a
constant of the compiled code. In an epoch, the choice of the mini-batch's examples is part of the graph.

The first step of a shape compiles for seconds, or less where Inductor finds its own cache of an earlier process on
disk; a mini-batch of another size compiles once more, for any size, and a single example once. `gradients` is not
compiled.
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # or a pool of processes stays behind

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch._dynamo.utils import counters

from impls.interface import Array, Batch, Implementation, Parameters


class TorchCompiled(Implementation):
    """One compiled graph for the step."""

    backend: ClassVar[str] = "inductor"
    compiles_per_shape = True

    @classmethod
    def build(cls) -> dict[str, str]:
        return {"torch": torch.__version__, "torch_build": " ".join(torch.__config__.show().split())}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        torch.set_num_threads(threads)
        torch.compiler.reset()  # torch gives up on a function after some networks, unless it forgets the old ones
        self._W = [torch.tensor(W) for W in self.weights]  # (n_out, n_in)
        self._b = [torch.tensor(b) for b in self.biases]  # (n_out,)
        self._rate = torch.zeros((), dtype=getattr(torch, self.dtype.name))
        self._update = torch.compile(update, backend=self.backend, fullgraph=True)
        self._update_at = torch.compile(update_at, backend=self.backend, fullgraph=True)

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        for mine, theirs in zip(self._W + self._b, parameters.weights + parameters.biases, strict=True):
            mine.copy_(torch.from_numpy(theirs.copy()))

    def parameters(self) -> Parameters:
        return Parameters([W.numpy().copy() for W in self._W], [b.numpy().copy() for b in self._b])

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(torch.tensor(x), torch.tensor(y))

    def take(self, data: Batch, indices: NDArray[np.intp]) -> Batch:
        chosen = torch.from_numpy(indices.copy())
        return Batch(data.x[chosen], data.y[chosen])  # (B, n_0), (B, n_L)

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = gradient(self._W, self._b, *batch)
        return Parameters([d.numpy() for d in dW], [d.numpy() for d in db])

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._rate.fill_(learning_rate)
        self._update(self._W, self._b, *batch, self._rate)

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._rate.fill_(learning_rate)
        rows = torch.from_numpy(order.copy())
        for start in range(0, len(order), self.batch_size):
            self._update_at(self._W, self._b, *data, rows[start : start + self.batch_size], self._rate)

    def compilations(self) -> int:
        return int(counters["stats"]["unique_graphs"])


def cost(weights: list[Any], biases: list[Any], x: Any, y: Any) -> Any:
    a = x
    for W, b in zip(weights, biases, strict=True):
        a = torch.sigmoid(a @ W.T + b)  # (B, n_out)
    return ((a - y) ** 2).sum() / (2 * len(x))


gradient = torch.func.grad(cost, argnums=(0, 1))


def update(weights: list[Any], biases: list[Any], x: Any, y: Any, learning_rate: Any) -> None:
    dW, db = gradient(weights, biases, x, y)
    for p, dp in zip(weights + biases, dW + db, strict=True):
        p.sub_(learning_rate * dp)


def update_at(weights: list[Any], biases: list[Any], x: Any, y: Any, rows: Any, learning_rate: Any) -> None:
    update(weights, biases, x[rows], y[rows], learning_rate)  # (B, n_0), (B, n_L)
