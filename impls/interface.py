"""The contract that every implementation meets.

Dimensions, used in the shape comments of all implementations:

    B            examples in a mini-batch
    n_0 … n_L    units per layer; n_in and n_out are the two sides of one layer of weights

Source of the algorithm: Michael Nielsen, *Neural Networks and Deep Learning* (2015), chapters 1 and 2.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Parameters(NamedTuple):
    """Weights and biases of a network, or the gradient of the cost with respect to them."""

    weights: list[Array]  # L arrays (n_out, n_in)
    biases: list[Array]  # L arrays (n_out,)


class Batch(NamedTuple):
    """Examples as NumPy arrays, C-contiguous, in the implementation's dtype."""

    x: Array  # (B, n_0)
    y: Array  # (B, n_L)


def product_flops(sizes: Sequence[int]) -> int:
    """Return the floating-point operations of a step's matrix products per example; element-wise work is not counted.

    A product with an (n_out, n_in) matrix takes 2 * n_in * n_out operations. The first layer has two products
    (forward, dW), each later one three (forward, dW, delta).
    """
    first, *later = (2 * n_in * n_out for n_in, n_out in pairwise(sizes))
    return 2 * first + 3 * sum(later)


class Implementation(ABC):
    """One way of computing the gradient of the quadratic cost C = 1/(2B) * sum over the batch of |a - y|^2.

    A library that does not offer it says so in `cost`: "cross-entropy", C = -1/B * sum of y ln a + (1 - y) ln(1 - a)
    with y of 0 and 1, has the same products and no slope in the last delta.

    The shortest implementation defines `gradients` alone, from `self.weights` and `self.biases`; a fused one
    overrides `step` or `epoch` as well. What holds for all of them, and is checked by `impls.conformance`:

    - The constructor allocates the work space. It is never timed.
    - `load` and `parameters` copy in and out of whatever the implementation keeps natively (NumPy arrays,
      tensors, device memory). They are never timed.
    - `prepare` and `prepare_data` convert and validate examples once. They are never timed; what an
      implementation must convert at every step it converts inside the timed calls.
    - `gradients`, `step` and `epoch` are timed. They are synchronous: the result is there when the call returns.
    - Inputs are never modified; results overwrite and never accumulate; no two results share memory.
    - NaN in the input reaches the output, or is refused with a ValueError; it never vanishes.
    - Wrong shapes, dtypes or sizes are a ValueError that says what was expected, what was found and what to do;
      it is raised before anything is changed.
    - The number of threads is a promise to use no more than that many cores. BLAS takes its threads from the
      environment of the process; an implementation that splits the work itself holds BLAS at one thread. One that
      computes small steps on a single core, as waking others would take longer, names the limit in `worth_sharing`.
    """

    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32")
    cost: ClassVar[str] = "quadratic"  # or "cross-entropy"
    compiles_per_shape: ClassVar[bool] = False  # then `backprop verify` explores with few shapes, not with hundreds
    worth_sharing: int = 0  # flops of a step from which threads share it; set to 0 by the checks of small networks

    @classmethod
    def build(cls) -> dict[str, str]:
        """Return how the libraries behind this implementation were built, for the record: name to version and flags.

        Under "device", one that computes elsewhere than on the CPU says where: it has no per cent of the CPU's peak.
        """
        return {}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        """Allocate the work space for mini-batches of up to `batch_size` examples.

        `sizes` are the units per layer (n_0, …, n_L), inputs first; `threads` is the number of cores to use.
        """
        if len(sizes) < 2 or any(n < 1 for n in sizes):
            raise ValueError(f"sizes: expected two or more positive layer sizes, got {tuple(sizes)}")
        for what, number in (("batch_size", batch_size), ("threads", threads)):
            if number < 1:
                raise ValueError(f"{what}: expected at least 1, got {number}")
        if np.dtype(dtype).name not in self.dtypes:
            raise ValueError(
                f"dtype: {type(self).__name__} computes in {' or '.join(self.dtypes)}, got {np.dtype(dtype).name}"
            )
        self.sizes = tuple(int(n) for n in sizes)
        self._product_flops = product_flops(self.sizes)
        self.batch_size = int(batch_size)
        self.dtype = np.dtype(dtype)
        self.threads = int(threads)
        shapes = list(zip(self.sizes[1:], self.sizes[:-1], strict=True))
        self.weights: list[Array] = [np.zeros(shape, self.dtype) for shape in shapes]  # (n_out, n_in)
        self.biases: list[Array] = [np.zeros(n_out, self.dtype) for n_out, _ in shapes]  # (n_out,)

    def load(self, parameters: Parameters) -> None:
        """Copy `parameters` in. Raises ValueError, with nothing changed, if a shape or dtype is off."""
        self.check_parameters(parameters)
        for mine, theirs in zip(self.weights + self.biases, parameters.weights + parameters.biases, strict=True):
            np.copyto(mine, theirs)

    def parameters(self) -> Parameters:
        """Return a copy of the parameters as NumPy arrays."""
        return Parameters([W.copy() for W in self.weights], [b.copy() for b in self.biases])

    def prepare(self, x: Array, y: Array) -> Any:
        """Return one mini-batch in native form: `x` (B, n_0) and `y` (B, n_L) with B up to the batch size."""
        if len(x) > self.batch_size:
            raise ValueError(
                f"batch of {len(x)} examples: the work space holds {self.batch_size}; "
                "construct the implementation with a larger batch_size"
            )
        return self.prepare_data(x, y)

    def prepare_data(self, x: Array, y: Array) -> Any:
        """Return a data set in native form: `x` (N, n_0) and `y` (N, n_L) with any N.

        An implementation with another native form overrides this method, `take` and the timed methods,
        and lets this one validate first.
        """
        for name, array, units in (("x", x, self.sizes[0]), ("y", y, self.sizes[-1])):
            if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] != units:
                raise ValueError(f"{name}: expected shape (examples, {units}), got {array.shape}; rows are examples")
            self._check_dtype(name, array)
        if len(x) != len(y):
            raise ValueError(f"x and y: expected as many examples in both, got {len(x)} and {len(y)}")
        return Batch(np.ascontiguousarray(x), np.ascontiguousarray(y))

    def take(self, data: Any, indices: NDArray[np.intp]) -> Any:
        """Return the examples at `indices` of a native data set as a native mini-batch. Timed within `epoch`."""
        return Batch(data.x[indices], data.y[indices])  # (B, n_0), (B, n_L)

    @abstractmethod
    def gradients(self, batch: Any) -> Parameters:
        """Return the gradient of the cost over a prepared mini-batch, in arrays of its own."""

    def step(self, batch: Any, learning_rate: float) -> None:
        """Take one step of gradient descent: p -= learning_rate * dC/dp (the book's `update_mini_batch`)."""
        dW, db = self.gradients(batch)
        for p, dp in zip(self.weights + self.biases, dW + db, strict=True):
            p -= learning_rate * dp

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        """Step through the examples of a prepared data set in the given order, `batch_size` at a time.

        The last mini-batch may be smaller. One turn of the loop in the book's `SGD`.
        """
        for start in range(0, len(order), self.batch_size):
            self.step(self.take(data, order[start : start + self.batch_size]), learning_rate)

    def is_worth_sharing(self, examples: int) -> bool:
        """Return whether a step of so many examples is worth sharing among the threads."""
        return self.threads > 1 and examples * self._product_flops >= self.worth_sharing

    def compilations(self) -> int:
        """Return how often code was compiled in this process so far, as far as the library tells; it never shrinks.

        A number that grows while samples are taken means that one of them holds a compilation.
        """
        return 0

    def close(self) -> None:  # noqa: B027 (most implementations have nothing to free)
        """Free pools and device memory. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def check_parameters(self, parameters: Parameters) -> None:
        """Raise ValueError if `parameters` do not fit this network."""
        weights, biases = parameters
        layers = len(self.sizes) - 1
        if len(weights) != layers or len(biases) != layers:
            raise ValueError(f"parameters: expected {layers} layers, got {len(weights)} weights, {len(biases)} biases")
        for layer, (n_in, n_out) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            for kind, array, shape in (("weights", weights[layer], (n_out, n_in)), ("biases", biases[layer], (n_out,))):
                name = f"{kind}[{layer}]"
                if array.shape != shape:
                    raise ValueError(f"{name}: expected shape {shape}, got {array.shape}; weights are (n_out, n_in)")
                self._check_dtype(name, array)

    def _check_dtype(self, name: str, array: Array) -> None:
        if array.dtype != self.dtype:
            raise ValueError(
                f"{name}: expected dtype {self.dtype}, got {array.dtype}; convert it with .astype('{self.dtype}')"
            )
