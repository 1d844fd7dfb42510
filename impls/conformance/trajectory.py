"""Where hundreds of steps lead: the oracle's parameters, and how far from them rounding may lead a right row.

Rounding errors of hundreds of steps add up, and each step passes them on, larger or smaller, as the network at hand
will. How much, no formula tells; the oracle does: it takes the same steps once more while disturbed as the row's dtype
disturbs a row.

- Each gradient is off by 64 u of its own size, where u is half a unit in the last place: what independent roundings do
  to a sum of 4,096 terms (sqrt(n) u). The numbers of two successive steps hardly differ, so their roundings are alike
  and add up; the disturbance therefore has the same direction at every step.
- The parameters are rounded to the dtype after each step.

Twice the distance between the two trajectories is allowed (of several disturbed ones, that of the furthest), and
besides one rounding per example, for rows that add each example's share to the parameters by itself
(`comparison.step_rounding`). Measured on the workloads of the default run (`tests/test_trajectory.py` repeats it): the
worst right row reaches a fifth of what is allowed. Among hundreds of steps, one that is left out or taken twice is over
it 9 times in float32 and 10^9 times in float64; one step that forgets one of its ten examples, 4 times and 10^8 times.

There are problems on which every step blows up any difference, as with a wide network and a large learning rate. Once
the distance is a twentieth of the whole move, rounding decides where the steps lead, and nothing can be said.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from impls.conformance.comparison import distances, is_sensitive, step_rounding, worst_of
from impls.conformance.oracle import oracle_gradients
from impls.interface import Array, Parameters

GRADIENT_ROUNDINGS = 64  # u: the disturbance of each gradient, relative to its size
MARGIN = 2.0  # times the distance of the disturbed trajectory

Step = tuple[Array, Array, float]  # x (B, n_0), y (B, n_L), learning rate


@dataclass(frozen=True)
class Stop:
    """The oracle's parameters before and after some steps, undisturbed and disturbed, and the examples of all steps."""

    start: Parameters
    expected: Parameters
    disturbed: tuple[Parameters, ...]
    examples: int
    dtype: str

    @property
    def undecided(self) -> bool:
        """Return whether rounding decides where the steps lead."""
        return is_sensitive(self.expected, self.disturbed, self.start)

    def errors(self, found: Any) -> tuple[str, float]:
        """Compare parameters with the oracle's; return what is wrong in words, and the worst share of what is allowed.

        The words are "" if nothing is wrong; the share is then at most 1. It is infinite where there is no number.
        """
        drift = distances(self.expected, self.disturbed)
        rounding = step_rounding(self.examples, self.dtype)

        def allowed(name: str, theirs: Array) -> float:
            return MARGIN * drift[name] + rounding * float(np.linalg.norm(theirs))

        return worst_of(found, self.expected, allowed)


def trajectory(
    parameters: Parameters,
    steps: Iterable[Step],
    stops: Iterable[int],
    dtype: str,
    cost: str = "quadratic",
    disturbances: int = 1,
) -> Iterator[Stop]:
    """Return where the oracle stands after each of the numbers of steps in `stops`, which must grow."""
    exact = _Walk(parameters, cost)
    disturbed = [_Walk(parameters, cost, dtype, seed) for seed in range(disturbances)]
    examples = taken = 0
    remaining = iter(steps)
    for stop in stops:
        while taken < stop:
            x, y, learning_rate = next(remaining)
            for walk in (exact, *disturbed):
                walk.step(x, y, learning_rate)
            taken, examples = taken + 1, examples + len(x)
        yield Stop(parameters, exact.parameters, tuple(walk.parameters for walk in disturbed), examples, dtype)


class _Walk:
    """The oracle on its way; disturbed if it is given a dtype."""

    def __init__(self, parameters: Parameters, cost: str, dtype: str | None = None, seed: int = 0) -> None:
        self._tensors = [np.asarray(p, np.float64) for p in (*parameters.weights, *parameters.biases)]
        self._layers = len(parameters.weights)
        self._cost = cost
        self._dtype = dtype
        self._seed = seed
        self._directions: list[Array] | None = None  # of the disturbance, once the first gradient is there

    @property
    def parameters(self) -> Parameters:
        """Return the parameters, in arrays that later steps do not change."""
        return Parameters(self._tensors[: self._layers], self._tensors[self._layers :])

    def step(self, x: Array, y: Array, learning_rate: float) -> None:
        """Take one step."""
        dW, db = oracle_gradients(self.parameters, x, y, self._cost)
        gradients = dW + db
        if self._dtype is not None:
            gradients = self._disturbed(gradients, self._dtype)
        self._tensors = [p - learning_rate * dp for p, dp in zip(self._tensors, gradients, strict=True)]
        if self._dtype is not None:
            self._tensors = [p.astype(self._dtype).astype(np.float64) for p in self._tensors]

    def _disturbed(self, gradients: list[Array], dtype: str) -> list[Array]:
        """Return the gradients, each off by the same share of its size and always in the same direction."""
        if self._directions is None:
            rng = np.random.default_rng(self._seed)
            self._directions = [rng.standard_normal(dp.shape) for dp in gradients]
        share = GRADIENT_ROUNDINGS * float(np.finfo(dtype).eps) / 2
        return [
            dp + share * math.sqrt(np.mean(dp * dp)) * direction
            for dp, direction in zip(gradients, self._directions, strict=True)
        ]
