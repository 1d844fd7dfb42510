"""Comparisons of gradients and parameters with the oracle's, from arrays alone.

Each comparison returns its findings as text, one clause per tensor, or "" if it finds nothing. What an implementation
returned is of type Any here: it may be anything at all, and then the text says so.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from impls.interface import Array, Parameters

# The largest allowed relative error of a gradient, per tensor: norm of the difference / norm of the oracle's tensor.
#
# A network with L layers of weights computes 2L + 1 products in sequence, 11 for the deepest network checked. Rounding
# errors are nearly independent, so the error of a sum of n terms is about sqrt(n) * u of the norm of its terms, where u
# is half a unit in the last place: 32 u for the 1,024 terms of the widest layers and batches. Cancellation within a sum
# loses up to one more digit (a factor of 10; the networks here are drawn so that none loses more). Together
# 11 * 32 * 10 = 3,500 u, rounded to a power of ten well above the errors of correct implementations and below those of
# the next lower precision. Both columns were measured on the networks and workloads here:
#
#              u        3,500 u    allowed    worst correct row    lower precision inside
#   float64    1.1e-16  3.9e-13    1e-12      3e-15                float32: 2e-8 and more
#   float32    6.0e-08  2.1e-04    1e-4       3e-6                 TF32, float16: 3e-4 and more
TOLERANCES = {"float64": 1e-12, "float32": 1e-4}
SENSITIVE = 0.025  # of a tensor, or of its move: the distance of twins from which on rounding decides


def tolerance(dtype: str) -> float:
    """Return the largest allowed relative error for `dtype`; raises ValueError if none is defined."""
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype: expected one with a tolerance, {' or '.join(TOLERANCES)}, got {dtype}")
    return TOLERANCES[dtype]


def named_tensors(parameters: Any) -> list[tuple[str, Any]]:
    """Return all tensors with their names; raises TypeError or ValueError if this is not a pair of sequences."""
    weights, biases = parameters
    return [(f"weights[{n}]", W) for n, W in enumerate(weights)] + [(f"biases[{n}]", b) for n, b in enumerate(biases)]


def gradient_errors(found: Any, expected: Parameters, dtype: str, twins: Sequence[Parameters] = ()) -> str:
    """Compare a gradient with the oracle's: norm of the difference / norm of the oracle's, per tensor.

    `twins` are the oracle's gradients with every number disturbed: rounding may lead as far (`disturbance`). Raises
    ValueError if `dtype` has no tolerance.
    """
    relative = tolerance(dtype)
    errors, pairs = _matched(found, expected)
    spread = _spread(expected, twins)
    with np.errstate(all="ignore"):
        for name, mine, theirs in pairs:
            size, difference = float(np.linalg.norm(theirs)), float(np.linalg.norm(mine - theirs))
            error, unit = (difference / size, spread[name] / size) if size > 0.0 else (difference, spread[name])
            if not (error <= relative + unit):  # NaN fails, too
                errors.append(f"{name}: relative error {error:.1e}, allowed {relative + unit:.0e}")
    return "; ".join(errors)


def parameter_errors(
    found: Any, before: Parameters, expected: Parameters, examples: int, dtype: str, twins: Sequence[Parameters] = ()
) -> str:
    """Compare parameters after gradient steps with the oracle's, relative to how far the oracle moved them.

    `before` and `expected` are the oracle's before and after the steps; `examples` counts the examples of all steps.
    `twins` are the oracle's after the steps with every number disturbed: rounding may lead as far. Raises ValueError if
    `dtype` has no tolerance.
    """
    relative = tolerance(dtype)
    errors, pairs = _matched(found, expected)
    start = dict(named_tensors(before))
    rounding = step_rounding(examples, dtype)
    spread = _spread(expected, twins)
    with np.errstate(all="ignore"):
        for name, mine, theirs in pairs:
            moved = np.linalg.norm(theirs - np.asarray(start[name], np.float64))
            allowed = relative * moved + rounding * np.linalg.norm(theirs) + spread[name]
            difference = np.linalg.norm(mine - theirs)
            if not (difference <= allowed):  # NaN fails, too
                errors.append(f"{name}: error {difference:.1e} after a move of {moved:.1e}, allowed {allowed:.1e}")
    return "; ".join(errors)


def is_sensitive(expected: Parameters, twins: Sequence[Parameters], before: Parameters | None = None) -> bool:
    """Return whether rounding may lead a tensor so far away that nothing can be said of it.

    Compared is with the move since `before`, if given, or else with the tensor itself. Where small disturbances have
    grown that much, they do not grow in proportion, and eight twins do not tell how far a ninth would get.
    """
    start = dict(named_tensors(before)) if before is not None else {}
    apart = distances(expected, twins)
    with np.errstate(all="ignore"):
        return any(
            apart[name] > SENSITIVE * float(np.linalg.norm(tensor - np.asarray(start.get(name, 0.0), np.float64)))
            for name, tensor in named_tensors(expected)
        )


def step_rounding(examples: int, dtype: str) -> float:
    """Return what steps with so many examples may round off parameters, relative to the parameters.

    Parameters are no more accurate than their last place, and each addition to them rounds again. Roundings are
    independent and grow with the square root of their number; one per example is allowed.
    """
    return float(np.finfo(dtype).eps) * math.sqrt(examples)


def worst_of(found: Any, expected: Parameters, allowed: Callable[[str, Array], float]) -> tuple[str, float]:
    """Compare tensors with `expected` ones, given the norm of the difference that each is `allowed` by name.

    Return the errors as text, the worst one first, and the worst share of what is allowed: infinite for a tensor that
    cannot be compared.
    """
    errors, pairs = _matched(found, expected)
    shares = [(math.inf, error) for error in errors]
    with np.errstate(all="ignore"):
        for name, mine, theirs in pairs:
            most, difference = allowed(name, theirs), float(np.linalg.norm(mine - theirs))
            share = difference / most if most > 0.0 else math.inf if difference else 0.0
            share = math.inf if math.isnan(share) else share
            shares.append((share, f"{name}: error {difference:.1e}, allowed {most:.1e}"))
    shares.sort(key=lambda pair: -pair[0])
    return "; ".join(error for share, error in shares if share > 1.0), max((share for share, _ in shares), default=0.0)


def differences(found: Any, expected: Parameters) -> str:
    """Compare a copy with its original: every number must be equal, and NaN equals NaN."""
    errors, pairs = _matched(found, expected)
    errors += [f"{name}: differs" for name, mine, theirs in pairs if not np.array_equal(mine, theirs, equal_nan=True)]
    return "; ".join(errors)


def missing_nans(found: Any, expected: Parameters) -> str:
    """Compare where NaN is: it must be wherever the oracle has it."""
    errors, pairs = _matched(found, expected)
    for name, mine, theirs in pairs:
        missing, of = int(np.sum(np.isnan(theirs) & ~np.isnan(mine))), int(np.sum(np.isnan(theirs)))
        if missing:
            errors.append(f"{name}: {missing} of {of} expected NaNs are missing")
    return "; ".join(errors)


def infinities(found: Any) -> str:
    """Name the tensors with an infinity or a NaN."""
    return "; ".join(f"{name}: not finite" for name, tensor in named_tensors(found) if not np.all(np.isfinite(tensor)))


def type_errors(found: Any, dtype: str) -> str:
    """Name the tensors that are not NumPy arrays of `dtype`."""
    errors = []
    for name, tensor in named_tensors(found):
        if not isinstance(tensor, np.ndarray):
            errors.append(f"{name}: expected a NumPy array, got {type(tensor).__name__}")
        elif tensor.dtype != np.dtype(dtype):
            errors.append(f"{name}: expected {dtype}, got {tensor.dtype}")
    return "; ".join(errors)


class Watch:
    """Watches arrays that must not be modified, by a checksum of each."""

    def __init__(self, parameters: Parameters, **arrays: Array) -> None:
        self._arrays = dict(named_tensors(parameters)) | arrays
        self._checksums = {name: _checksum(array) for name, array in self._arrays.items()}

    def modifications(self) -> str:
        """Name the arrays that were modified since the watch began."""
        return "; ".join(
            f"{name}: was modified" for name, array in self._arrays.items() if _checksum(array) != self._checksums[name]
        )


def distances(expected: Parameters, twins: Sequence[Parameters]) -> dict[str, float]:
    """Return the largest distance of a twin from the oracle, by tensor."""
    others = [dict(named_tensors(twin)) for twin in twins]
    with np.errstate(all="ignore"):
        return {
            name: max((float(np.linalg.norm(other[name] - tensor)) for other in others), default=0.0)
            for name, tensor in named_tensors(expected)
        }


def _spread(expected: Parameters, twins: Sequence[Parameters]) -> dict[str, float]:
    """Return what twins allow: twice the largest distance of one from the oracle, by tensor."""
    return {name: 2.0 * distance for name, distance in distances(expected, twins).items()}


def _matched(found: Any, expected: Parameters) -> tuple[list[str], list[tuple[str, Array, Array]]]:
    """Match tensors by name: return what cannot be compared, as text, and the rest as pairs in float64."""
    try:
        named = dict(named_tensors(found))
    except (TypeError, ValueError):
        return [f"expected a pair of lists, weights and biases, got {type(found).__name__}"], []
    wanted = dict(named_tensors(expected))
    errors = [f"{name}: missing tensor" for name in wanted if name not in named]
    errors += [f"{name}: unexpected tensor" for name in named if name not in wanted]
    pairs = []
    for name in wanted.keys() & named.keys():
        if np.shape(named[name]) == wanted[name].shape:
            pairs.append((name, np.asarray(named[name], np.float64), np.asarray(wanted[name], np.float64)))
        else:
            errors.append(f"{name}: expected shape {wanted[name].shape}, got {np.shape(named[name])}")
    return sorted(errors), sorted(pairs, key=lambda pair: pair[0])


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)
