"""Whether a wrong result is what a mistake would have computed, up to a multiple of each tensor."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from impls.conformance.comparison import tolerance
from impls.conformance.scales import LEAST_MULTIPLE
from impls.conformance.shapes import Tensors
from impls.interface import Array

EVIDENCE = 12  # decimal digits that must agree, over all numbers less the fitted ones: chance is ruled out
DISTINCT = 10  # times the tolerance that a mistake must differ from the right result, to be told from rounding


class Fit(NamedTuple):
    """A result as multiples of a candidate's tensors, plus a share of the parameters themselves in some tensors."""

    multiples: dict[str, float]
    share: float = 0.0
    names: tuple[str, ...] = ()  # the tensors with that share


class Target:
    """A wrong gradient, or the move of parameters in steps, divided by -learning rate: what is to be explained."""

    def __init__(
        self,
        tensors: Tensors,
        right: Tensors,
        dtype: str,
        rounding: Mapping[str, float] | None = None,
        *,
        numbers: int | None = None,
    ) -> None:
        """Take the result and the right one by name; `rounding` is what each tensor is off, besides the tolerance.

        `numbers` counts those of the result that are wrong, if it is more than those of the tensors that are.
        """
        self.tensors = tensors
        self.right = right
        self.relative = tolerance(dtype)
        self._rounding = rounding or {}
        self.wrong = [name for name in right if not self._agrees(name, tensors[name], right[name])]
        self.numbers = sum(tensors[name].size for name in self.wrong) if numbers is None else numbers

    def is_explained_by(self, candidate: Tensors, fitted_numbers: int = 0) -> bool:
        """Return whether the tensors that are wrong are the candidate's, and not by chance."""
        return self._is_evidence(fitted_numbers) and all(
            self._agrees(name, self.tensors[name], candidate[name]) for name in self.wrong
        )

    def multiples_of(self, candidate: Tensors) -> Fit | None:
        """Return the multiples of a candidate's tensors that the result is; None if it is no multiple of them.

        A tensor that is zero in the candidate must be zero in the result.
        """
        multiples: dict[str, float] = {}
        for name, tensor in self.tensors.items():
            square = float(np.vdot(candidate[name], candidate[name]))
            multiple = float(np.vdot(candidate[name], tensor)) / square if square else 1.0
            if self._agrees(name, tensor, candidate[name]):
                multiple = 1.0
            elif not self._agrees(name, tensor, multiple * candidate[name]):
                return None
            multiples[name] = multiple
        return Fit(multiples) if self._is_evidence(len(set(multiples.values()) - {1.0})) else None

    def with_decay(self, candidate: Tensors, parameters: Tensors) -> Fit | None:
        """Return the multiples where some tensors have the same share of the parameters added; None for no such fit."""
        multiples: dict[str, float] = {}
        shares: dict[str, float] = {}
        for name, tensor in self.tensors.items():
            columns = np.stack([candidate[name].ravel(), parameters[name].ravel()], axis=1)
            multiple, share = map(float, np.linalg.lstsq(columns, tensor.ravel(), rcond=None)[0])
            if self._agrees(name, tensor, candidate[name]):
                multiple, share = 1.0, 0.0
            elif self._agrees(name, tensor, multiple * candidate[name]):
                share = 0.0
            elif tensor.size <= 2 or not self._agrees(
                name, tensor, multiple * candidate[name] + share * parameters[name]
            ):
                return None  # two numbers are always explained by two that are fitted
            multiples[name] = multiple
            if share:
                shares[name] = share
        values = list(shares.values())
        if not values or np.ptp(values) > LEAST_MULTIPLE * abs(values[0]) or not self._is_evidence(3):
            return None
        return Fit(multiples, values[0], tuple(shares))

    def _is_evidence(self, fitted_numbers: int) -> bool:
        return -math.log10(self.relative) * (self.numbers - fitted_numbers) >= EVIDENCE

    def agrees_where_right(self, candidate: Tensors) -> bool:
        """Return whether a candidate is right in the tensors in which the result is."""
        right = self.right.keys() - set(self.wrong)
        return all(self._agrees(name, self.tensors[name], candidate[name]) for name in right)

    def differs_from_right(self, candidate: Tensors) -> bool:
        """Return whether a candidate is clearly another result than the right one."""
        return not all(self._agrees(name, self.right[name], candidate[name], DISTINCT) for name in self.right)

    def _agrees(self, name: str, one: Array, other: Array, times: float = 1.0) -> bool:
        allowed = self.relative * float(np.linalg.norm(other)) + self._rounding.get(name, 0.0)
        return bool(np.linalg.norm(one - other) <= times * allowed)
