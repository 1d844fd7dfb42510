"""Everything allowed in Rust (`impls/rust/src/fused/`): blocked SIMD kernels, and the update fused into the products.

BACKPROP_RUST_SIMD forces an instruction set.
"""

from impls.support.rust import RustCrate


class RustFused(RustCrate):
    """Blocked AVX-512, AVX2 or NEON kernels, the update fused in."""

    algorithm = "fused"
