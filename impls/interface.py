"""The contract that every implementation meets.

Dimensions, used in the shape comments of all implementations:

    B            examples in a mini-batch
    n_0 … n_L    units per layer; n_in and n_out are the two sides of one layer of weights

Source of the algorithm: Michael Nielsen, *Neural Networks and Deep Learning* (2015), chapters 1 and 2.
"""

from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
DERIVING_RATE = 2.0**60  # the learning rate of a step that a gradient is derived from


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


class Implementation:
    """One way of computing the gradient of the quadratic cost C = 1/(2B) * sum over the batch of |a - y|^2.

    A library that does not offer it says so in `cost`: "cross-entropy", C = -1/B * sum of y ln a + (1 - y) ln(1 - a)
    with y of 0 and 1, has the same products and no slope in the last delta.

    The shortest implementation defines `gradients` alone, or `step` alone, from `self.weights` and `self.biases`: each
    is derived from the other. A fused one overrides `step` or `epoch` as well.

    What is timed: `gradients`, `step` and `epoch`. The constructor, which allocates the work space, `load` and
    `parameters`, which copy in and out of whatever the implementation keeps natively (NumPy arrays, tensors, device
    memory), and `prepare` and `prepare_data`, which convert examples once, are never timed. What an implementation
    must convert at every step it converts inside the timed calls.

    What must hold is listed here, and `backprop verify` demands nothing else:

    - results: Gradient, step and epoch are those of the cost, as near as rounding allows: for any layer sizes, for
      mini-batches up to the batch size, with more threads than examples, and for orders that leave out or repeat
      examples; whatever was called before, and however often.
    - saturation: Finite inputs give finite results, correct ones also where units are saturated. Warnings are allowed.
    - NaN: NaN in the input reaches the output, or is refused with a ValueError; it never vanishes, nor stays behind.
    - types: Gradients and parameters are NumPy arrays of the network's dtype. A learning rate is a Python float.
    - layouts: Arrays that are passed in may have any memory layout and be read-only.
    - inputs: Arrays that are passed in are never modified, and `gradients` leaves the parameters unchanged.
    - memory: Results share no memory with one another or with inputs, and later calls leave them unchanged.
    - synchronous: When a call returns, its work is done: overwriting its inputs has no effect on it any more.
    - no memory of earlier calls: A call computes its result from its own inputs and the current parameters.
    - load: `load` and `parameters` copy. `load` replaces all parameters, and whatever else earlier calls have left.
    - instances: Two instances do not affect each other, and have what they were constructed with as attributes.
    - refusals: Wrong shapes, dtypes or sizes are a ValueError that says what was expected, and change nothing.
    - close: `close` may be called twice, ends threads, and gives BLAS its number of threads back.

    The number of threads is a promise to use no more than that many cores, which is measured in every run. BLAS takes
    its threads from the environment of the process; an implementation that splits the work itself holds BLAS at one
    thread. One that computes small steps on a single core, as waking others would take longer, names the limit in
    `worth_sharing`.
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

        `sizes` are the units per layer (n_0, …, n_L), inputs first; `threads` is the number of cores to use. Raises
        ValueError for what is impossible, and TypeError for a class that computes nothing.
        """
        check_complete(type(self))
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

    def gradients(self, batch: Any) -> Parameters:
        """Return the gradient of the cost over a prepared mini-batch, in arrays of its own.

        Where only `step` is defined, it is what a step subtracts: (p - p') / learning rate. The rate is so large that
        subtracting p loses no digits of the gradient, and a power of two, so that dividing loses none. The parameters
        are loaded again afterwards.
        """
        before = self.parameters()
        self.step(batch, DERIVING_RATE)
        after = self.parameters()
        self.load(before)
        return Parameters(
            *([(p - q) / DERIVING_RATE for p, q in zip(*pair, strict=True)] for pair in zip(before, after, strict=True))
        )

    def step(self, batch: Any, learning_rate: float) -> None:
        """Take one step of gradient descent: p -= learning_rate * dC/dp (the book's `update_mini_batch`)."""
        dW, db = self.gradients(batch)
        for p, dp in zip(self.weights + self.biases, dW + db, strict=True):
            p -= learning_rate * dp

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        """Step through the examples of a prepared data set in the given order, `batch_size` at a time.

        The last mini-batch may be smaller. One iteration of the loop in the book's `SGD`.
        """
        for start in range(0, len(order), self.batch_size):
            self.step(self.take(data, order[start : start + self.batch_size]), learning_rate)

    def is_worth_sharing(self, examples: int) -> bool:
        """Return whether a step of so many examples is worth sharing among the threads."""
        return self.threads > 1 and examples * self._product_flops >= self.worth_sharing

    def compilations(self) -> int:
        """Return how often code was compiled in this process so far, as far as the library reports; it never shrinks.

        A number that grows while samples are taken means that one of them holds a compilation.
        """
        return 0

    def close(self) -> None:
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


def has_own_gradient(cls: type[Implementation]) -> bool:
    """Return whether a class defines its gradient, and does not derive it from `step`."""
    return cls.gradients is not Implementation.gradients


def check_complete(cls: type[Implementation]) -> None:
    """Raise TypeError if a class defines neither `gradients` nor `step`, of which it needs one."""
    if not has_own_gradient(cls) and cls.step is Implementation.step:
        raise TypeError(f"{cls.__name__} defines neither gradients nor step: define one of them, or both")
