"""The post's algorithm in Rust, one example at a time, its products by SciPy's BLAS.

Nothing else changed from `rust_per_example`: what is left between this and the NumPy loop is the language.
"""

from impls.rust_per_example import RustPerExample


class RustPerExampleBlas(RustPerExample):
    """The post's algorithm, its products by SciPy's BLAS."""

    products = "scipy"
