"""The Rust rows: the crate's algorithms behind the contract.

The algorithms are in `impls/rust/src/`: `per_example.rs` is the post's, as it describes it; `batched.rs` its later,
batched form; `split.rs` that one over rayon; `candle.rs` a framework's; `fused/` everything allowed.

`rust_per_example` and `rust_batched` multiply with ndarray's own matrixmultiply. Their `_blas` twins differ in
nothing but that they call the BLAS that SciPy ships: what is left between them and the NumPy rows is the language.
`rust_batched_gemm` calls the crate `gemm` instead: whether pure Rust can replace a BLAS.
"""

import os
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from backprop_bench_rust import Batch, Network
from numpy.typing import DTypeLike, NDArray

from impls.rust_native import RustNative


class RustRow(RustNative):
    """An algorithm of the crate; subclasses name it."""

    batch = Batch
    _network: Network
    algorithm: ClassVar[str]
    products: ClassVar[str] = "ndarray"  # who multiplies matrices, where the algorithm leaves it open

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._network = Network(
            self.algorithm,
            self.sizes,
            self.batch_size,
            self.dtype.name,
            self.threads,
            products=self.products,
            simd=os.environ.get("BACKPROP_RUST_SIMD"),
        )

    @property
    def worth_sharing(self) -> int:
        """Return the operations of a step from which threads share it, as the crate has them."""
        return self._network.worth_sharing

    @worth_sharing.setter
    def worth_sharing(self, flops: int) -> None:
        self._network.worth_sharing = flops

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._network.epoch(data, order, learning_rate)


class RustPerExample(RustRow):
    """The post's algorithm: one example at a time, allocating gradients."""

    algorithm = "per_example"


class RustPerExampleBlas(RustPerExample):
    """The post's algorithm, its products by SciPy's BLAS."""

    products = "scipy"


class RustBatched(RustRow):
    """The mini-batch as a matrix."""

    algorithm = "batched"


class RustBatchedBlas(RustBatched):
    """The mini-batch as a matrix, its products by SciPy's BLAS."""

    products = "scipy"


class RustBatchedGemm(RustBatched):
    """The mini-batch as a matrix, its products by the crate gemm."""

    products = "gemm"


class RustRayon(RustRow):
    """The mini-batch split over rayon's threads."""

    algorithm = "split"


class RustCandle(RustRow):
    """Layers, autograd and SGD of candle, a framework in Rust, without Python."""

    algorithm = "candle"

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # which candle asks for how many threads it may use
        super().__init__(sizes, batch_size, dtype, threads)


class RustFused(RustRow):
    """Everything allowed; BACKPROP_RUST_SIMD forces an instruction set."""

    algorithm = "fused"
