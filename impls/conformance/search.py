"""Comparing a wrong result with what mistakes would have computed."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from impls.conformance.comparison import named_tensors, tolerance
from impls.interface import Array, Parameters

EVIDENCE = 12  # decimal digits that must agree, over all numbers less those of fitted constants: no chance
DISTINCT = 10  # times the tolerance that a mistake must be off the right result, to be told from rounding
SEARCH_SECONDS = 5.0  # for one result: the workload may be large
NEARLY_RIGHT = 0.1  # relative error, of the lowest precision
ROUNDING = {"float64": (1e-11, 1e-5), "float32": (1e-5, 5e-3)}  # relative errors as of the next lower precision
LEAST_MULTIPLE = 1e-3  # that a fitted constant must be off 1

Tensors = dict[str, Array]


class Search:
    """Compares a wrong result with candidates, tensor by tensor: a gradient, or parameters after steps."""

    def __init__(
        self, found: Any, expected: Parameters, dtype: str, before: Parameters | None = None, examples: int = 0
    ) -> None:
        """Take the result and the right one; for steps the parameters `before`, and the number of examples seen."""
        self.steps = before is not None
        self.expected = _tensors(expected)
        self.before = _tensors(before) if before else {name: 0.0 * tensor for name, tensor in self.expected.items()}
        try:
            self.found = _tensors(found)
        except (TypeError, ValueError):  # not even a pair of lists of arrays
            self.found = {}
        self._dtype, self._relative = dtype, tolerance(dtype)
        self._rounding = np.finfo(dtype).eps * math.sqrt(examples)
        self._deadline = time.monotonic() + SEARCH_SECONDS
        comparable = self.found.keys() == self.expected.keys()
        self.wrong = [
            name for name in self.expected if not (comparable and self._agrees(name, self.found, self.expected))
        ]
        self.possible = comparable and bool(self.wrong) and not self.not_finite()

    def not_finite(self) -> str:
        """Name the tensors with NaN or infinity, in a sentence; "" if there are none."""
        names = [name for name, tensor in self.found.items() if not np.all(np.isfinite(tensor))]
        where = "every tensor" if len(names) == len(self.found) else ", ".join(names)
        return f"NaN or infinity in {where}: from 0/0, inf - inf, or memory that was never written" if names else ""

    def first(self, candidates: Iterable[tuple[str, Callable[[], Parameters]]], closeness: float = 1.0) -> str:
        """Return the sentence of the first candidate that explains all that is wrong, `closeness` times more closely.

        A candidate that explains the wrong tensors, but would have others wrong that are right, is the second choice;
        its sentence then begins with the tensors.
        """
        second = ""
        for sentence, candidate in candidates:
            if time.monotonic() > self._deadline:
                break
            try:
                tensors = _tensors(candidate())
            except (ValueError, IndexError):  # the shapes do not allow this mistake
                continue
            if self.explained_by(tensors, closeness=closeness):
                if all(self._agrees(name, self.found, tensors) for name in tensors):
                    return sentence
                second = second or f"{self.subject()}: {sentence}"
        return second

    def explained_by(self, candidate: Tensors, constants: int = 0, closeness: float = 1.0) -> bool:
        """Return whether the wrong tensors are the candidate's, neither by chance nor by rounding.

        `constants` counts the numbers of the candidate that were fitted to the result.
        """
        numbers = sum(self.found[name].size for name in self.wrong) - constants
        return (
            -math.log10(self._relative) * numbers >= EVIDENCE
            and candidate.keys() == self.expected.keys()
            and all(self._agrees(name, self.found, candidate, 1 / closeness) for name in self.wrong)
            and not all(self._agrees(name, self.expected, candidate, DISTINCT / closeness) for name in self.wrong)
        )

    def rounding(self, candidates: Iterable[tuple[str, Callable[[], Parameters]]]) -> str:
        """Return the sentence for a result that is nearly right in all tensors: a candidate's, or a general one."""
        if any(self.found[name].shape != tensor.shape for name, tensor in self.expected.items()):
            return ""
        errors = [
            float(np.linalg.norm(self.found[name] - tensor) / (np.linalg.norm(tensor) or 1.0))
            for name, tensor in self.expected.items()
        ]
        if max(errors) > NEARLY_RIGHT:
            return ""
        exact = self.first(candidates, closeness=DISTINCT)  # which may be no further off than the tolerance
        lowest, highest = ROUNDING[self._dtype]
        if exact or min(errors) < lowest or max(errors) > highest:
            return exact
        lower = "float32" if self._dtype == "float64" else "float16, TF32 or bfloat16"
        return f"computed in lower precision: agrees to {max(errors):.0e} only, as if in {lower}"

    def subject(self) -> str:
        """Return which tensors are wrong, in words: "every bias gradient", "every parameter of layer 1"."""
        noun, of_kind = ("parameter", "") if self.steps else ("gradient", " gradient")
        groups = {
            f"every {noun}": list(self.expected),
            f"every weight{of_kind}": [name for name in self.expected if name.startswith("weights")],
            f"every bias{of_kind}": [name for name in self.expected if name.startswith("biases")],
        }
        for layer in range(len(self.expected) // 2):
            of_layer = [f"weights[{layer}]", f"biases[{layer}]"]
            groups[f"every {noun} of layer {layer}"] = of_layer
            groups[f"every {noun} but those of layer {layer}"] = [n for n in self.expected if n not in of_layer]
        listed = ", ".join(self.wrong)
        one = listed if self.steps else f"the gradient of {listed}"
        several = f"each {noun} of {listed}" if self.wrong[1:] else one
        return next((words for words, names in groups.items() if names == self.wrong and names[1:]), several)

    def _agrees(self, name: str, one: Tensors, other: Tensors, times: float = 1.0) -> bool:
        """Return whether a tensor agrees with another as closely as a right one must with the oracle's."""
        if one[name].shape != other[name].shape:
            return False
        moved = size = float(np.linalg.norm(other[name]))
        if self.before[name].shape == other[name].shape:
            moves = (float(np.linalg.norm(after[name] - self.before[name])) for after in (other, self.expected))
            moved = next(filter(None, moves), 0.0)  # what does not move is compared with the right move
        allowed = self._relative * moved + self._rounding * size
        return bool(np.linalg.norm(one[name] - other[name]) <= times * allowed)


def _tensors(parameters: Any) -> Tensors:
    return {name: np.asarray(tensor, np.float64) for name, tensor in named_tensors(parameters)}
