"""Networks and examples that several tests draw."""

from itertools import pairwise

import numpy as np

from impls.interface import Array, Parameters


def draw(sizes: tuple[int, ...], examples: int, dtype: str, seed: int = 0) -> tuple[Parameters, Array, Array]:
    """Draw a network that is not saturated and examples with targets of 0 and 1, away from the activations."""
    rng = np.random.default_rng(seed)
    weights = [(rng.standard_normal((m, n)) / np.sqrt(n)).astype(dtype) for n, m in pairwise(sizes)]
    biases = [rng.standard_normal(m).astype(dtype) for m in sizes[1:]]
    x = rng.standard_normal((examples, sizes[0])).astype(dtype)
    y = rng.integers(2, size=(examples, sizes[-1])).astype(dtype)
    return Parameters(weights, biases), x, y


def tensors(parameters: Parameters) -> list[Array]:
    return parameters.weights + parameters.biases
