"""The mini-batch as a matrix in Rust, its products by SciPy's BLAS.

Nothing else changed from `rust_batched`: what is left between this and `batched_2d` is the language.
"""

from impls.rust_batched import RustBatched


class RustBatchedBlas(RustBatched):
    """The mini-batch as a matrix, its products by SciPy's BLAS."""

    products = "scipy"
