from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

@final
class Batch:
    def __new__(cls, x: Array, y: Array) -> Batch: ...
    def __len__(self) -> int: ...

@final
class Network:
    worth_sharing: int
    def __new__(
        cls,
        algorithm: str,
        sizes: Sequence[int],
        batch_size: int,
        dtype: str,
        threads: int = 1,
        *,
        products: str = "ndarray",
        simd: str | None = None,
    ) -> Network: ...
    def load(self, weights: Sequence[Array], biases: Sequence[Array]) -> None: ...
    def parameters(self) -> tuple[list[Array], list[Array]]: ...
    def gradients(self, batch: Batch) -> tuple[list[Array], list[Array]]: ...
    def step(self, batch: Batch, learning_rate: float) -> None: ...
    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None: ...

def instruction_sets() -> list[str]: ...
