"""JAX: jit of grad and update as one function, the parameters donated to it, so that they are updated in place.

What changed from `batched_2d`: arrays are immutable, a step is a function from parameters to parameters, its gradient
comes from `jax.grad`, and XLA compiles all of it, once for each size of mini-batch. An epoch is one compiled call,
too: a `lax.scan` over its mini-batches, as JAX programs write their training loops, then the short last one. The
learning rate stays on the device while it is the same. XLA makes its threads once a process, as many as NPROC says
(jaxlib 0.10: --xla_cpu_multi_thread_eigen does nothing).
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray

from impls.interface import Array, Batch, Implementation, Parameters

jax.config.update("jax_enable_x64", True)  # float64 stays float64; float32 stays float32
jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
jax.config.update("jax_cpu_enable_async_dispatch", False)  # a step is waited for: another thread would only be woken
COMPILED: list[float] = []  # seconds of each compilation in this process
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: COMPILED.append(seconds) if event.endswith("backend_compile_duration") else None
)


class Jax(Implementation):
    """One compiled function from parameters to parameters."""

    device: ClassVar[str] = "cpu"
    compiles_per_shape = True

    @classmethod
    def build(cls) -> dict[str, str]:
        return {"jax": jax.__version__, "jaxlib": jax.lib.__version__}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        os.environ["NPROC"] = os.environ["PJRT_NPROC"] = str(threads)
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared with other processes
        self._parameters = self._put((self.weights, self.biases))
        self._rate = (0.0, self._put(np.zeros((), self.dtype)))  # the last learning rate, and the same on the device
        self._step = jax.jit(step, donate_argnums=0)
        self._epoch = jax.jit(epoch, donate_argnums=0, static_argnums=4)

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self._parameters = self._put(tuple(parameters))

    def parameters(self) -> Parameters:
        return Parameters(*jax.tree.map(np.array, self._parameters))

    def prepare_data(self, x: Array, y: Array) -> Batch:
        return self._put(super().prepare_data(x, y))  # type: ignore[no-any-return]

    def gradients(self, batch: Batch) -> Parameters:
        return Parameters(*jax.tree.map(np.array, gradient(self._parameters, *batch)))

    def step(self, batch: Batch, learning_rate: float) -> None:
        if learning_rate != self._rate[0]:
            self._rate = (learning_rate, self._put(np.asarray(learning_rate, self.dtype)))
        self._parameters = self._step(self._parameters, *batch, self._rate[1])
        self._parameters[0][0].block_until_ready()  # the results of one execution are ready together

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._parameters = self._epoch(self._parameters, data, order, float(learning_rate), self.batch_size)
        self._parameters[0][0].block_until_ready()

    def compilations(self) -> int:
        return len(COMPILED)

    def _put(self, arrays: Any) -> Any:
        return jax.tree.map(lambda array: jnp.array(array, copy=True, device=jax.devices(self.device)[0]), arrays)


def cost(parameters: Any, x: Any, y: Any) -> Any:
    a = x
    for W, b in zip(*parameters, strict=True):
        a = jax.nn.sigmoid(a @ W.T + b)  # (B, n_out)
    return jnp.sum((a - y) ** 2) / (2 * len(x))


gradient = jax.jit(jax.grad(cost))


def step(parameters: Any, x: Any, y: Any, learning_rate: Any) -> Any:
    return jax.tree.map(lambda p, dp: p - learning_rate * dp, parameters, gradient(parameters, x, y))


def epoch(parameters: Any, data: Batch, order: Any, rate: Any, batch_size: int) -> Any:
    def step_at(parameters: Any, rows: Any) -> tuple[Any, None]:
        return step(parameters, data.x[rows], data.y[rows], rate), None

    short = len(order) % batch_size
    parameters, _ = jax.lax.scan(step_at, parameters, order[: len(order) - short].reshape(-1, batch_size))
    return step_at(parameters, order[-short:])[0] if short else parameters


class JaxCuda(Jax):
    """The same on an NVIDIA GPU, the data resident there."""

    device = "cuda"

    @classmethod
    def build(cls) -> dict[str, str]:
        return super().build() | {"device": jax.devices(cls.device)[0].device_kind}

    def parameters(self) -> Parameters:
        """Read a copy, since JAX keeps on this side what it has brought from the device once.

        Reading the same arrays again would take no time, and the benchmark, which reads after each sample and at rest,
        would take the difference for work that had not been done.
        """
        return Parameters(*jax.tree.map(np.array, jax.tree.map(jnp.copy, self._parameters)))
