"""The post's algorithm in Rust (`impls/rust/src/per_example.rs`): one example at a time, gradients allocated anew.

Matrices are multiplied by ndarray's own matrixmultiply.
"""

from impls.support.rust import RustCrate


class RustPerExample(RustCrate):
    """The post's algorithm: one example at a time, allocating gradients."""

    algorithm = "per_example"
