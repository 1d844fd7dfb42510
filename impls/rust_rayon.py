"""The mini-batch split over rayon's threads in Rust (`impls/rust/src/split.rs`), each part as in `rust_batched`."""

from impls.support.rust import RustCrate


class RustRayon(RustCrate):
    """The mini-batch split over rayon's threads."""

    algorithm = "split"
