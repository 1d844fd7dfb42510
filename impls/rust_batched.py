"""The post's later form in Rust (`impls/rust/src/batched.rs`): the mini-batch as a matrix.

Matrices are multiplied by ndarray's own matrixmultiply.
"""

from impls.support.rust import RustCrate


class RustBatched(RustCrate):
    """The mini-batch as a matrix."""

    algorithm = "batched"
