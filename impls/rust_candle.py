"""The framework candle from Rust (`impls/rust/src/candle.rs`): layers, autograd and SGD, without Python."""

import os
from collections.abc import Sequence

from numpy.typing import DTypeLike

from impls.support.rust import RustCrate


class RustCandle(RustCrate):
    """Layers, autograd and SGD of candle."""

    algorithm = "candle"

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # which candle asks for how many threads it may use
        super().__init__(sizes, batch_size, dtype, threads)
