"""The mini-batch as a matrix in Rust, its products by the crate gemm: whether pure Rust can replace a BLAS."""

from impls.rust_batched import RustBatched


class RustBatchedGemm(RustBatched):
    """The mini-batch as a matrix, its products by the crate gemm."""

    products = "gemm"
