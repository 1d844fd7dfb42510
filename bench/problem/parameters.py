"""The network's initial parameters."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from impls.interface import Parameters


def initial_parameters(
    sizes: Sequence[int], seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float64
) -> Parameters:
    """Return the book's initial parameters: standard-normal biases, then weights, drawn in float64.

    `sizes` are the units per layer, inputs first; a generator given as `seed` is drawn from.
    """
    rng = np.random.default_rng(seed)
    biases = [rng.standard_normal(n_out).astype(dtype) for n_out in sizes[1:]]  # (n_out,)
    weights = [rng.standard_normal((n_out, n_in)).astype(dtype) for n_in, n_out in pairwise(sizes)]  # (n_out, n_in)
    return Parameters(weights, biases)
