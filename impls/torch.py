"""PyTorch as its tutorials write it: nn.Linear and nn.Sigmoid, autograd, optim.SGD.

What changed from `batched_2d`: the network is a module, the backward pass is found by the library from the forward
pass, and the update is an optimizer's. Its fused and foreach variants are not faster here.

Tensors live on `device`; the calls wait for it. Threads are PyTorch's own setting, which holds for the process.
float32 products are full precision: TF32 is off.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import nn

from impls.interface import Array, Batch, Implementation, Parameters


class Torch(Implementation):
    """Modules, autograd and an optimizer."""

    device: ClassVar[str] = "cpu"

    @classmethod
    def build(cls) -> dict[str, str]:
        return {"torch": torch.__version__, "torch_build": " ".join(torch.__config__.show().split())}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        self._dtype = getattr(torch, self.dtype.name)
        modules: list[Any] = []
        for n_in, n_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            modules += [nn.Linear(n_in, n_out, device=self.device, dtype=self._dtype), nn.Sigmoid()]
        self._model = nn.Sequential(*modules)
        self._squares = nn.MSELoss(reduction="sum")
        self._optimizer = torch.optim.SGD(self._model.parameters())

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        with torch.no_grad():
            for linear, W, b in zip(self._model[::2], *parameters, strict=True):
                linear.weight.copy_(torch.from_numpy(W.copy()))  # (n_out, n_in)
                linear.bias.copy_(torch.from_numpy(b.copy()))  # (n_out,)

    def parameters(self) -> Parameters:
        linears = self._model[::2]
        return Parameters(
            [to_numpy(linear.weight) for linear in linears], [to_numpy(linear.bias) for linear in linears]
        )

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(torch.tensor(x, device=self.device), torch.tensor(y, device=self.device))

    def take(self, data: Batch, indices: Any) -> Batch:
        return Batch(data.x[indices], data.y[indices])  # (B, n_0), (B, n_L)

    def gradients(self, batch: Batch) -> Parameters:
        self._backward(batch)
        linears = self._model[::2]
        dW = [to_numpy(linear.weight.grad) for linear in linears]  # (n_out, n_in)
        return Parameters(dW, [to_numpy(linear.bias.grad) for linear in linears])

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._update(batch, learning_rate)
        self._wait()

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        for indices in torch.from_numpy(order.copy()).to(self.device).split(self.batch_size):
            self._update(self.take(data, indices), learning_rate)
        self._wait()

    def _update(self, batch: Batch, learning_rate: float) -> None:
        self._backward(batch)
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()

    def _backward(self, batch: Batch) -> None:
        x, y = batch
        self._optimizer.zero_grad()
        cost = self._squares(self._model(x), y) / (2 * len(x))
        cost.backward()

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class TorchCuda(Torch):
    """The same on an NVIDIA GPU, the data resident there."""

    device = "cuda"

    @classmethod
    def build(cls) -> dict[str, str]:
        return super().build() | {"device": torch.cuda.get_device_name()}


def to_numpy(tensor: Any) -> Array:
    """Return a copy of a tensor as a NumPy array."""
    return np.asarray(tensor.detach().cpu().numpy()).copy()
