"""Tolerances, and comparisons of gradients and parameters with the reference's, from arrays alone.

Each comparison returns what is wrong as text, one clause per tensor, or "" for nothing. What an implementation returned
is of type Any here: it may be anything at all, and then the text says so.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from impls.conformance.reference import GradientStep, Trajectory
from impls.interface import Array, Parameters

# The largest allowed relative error of a gradient, per tensor: norm of the difference / norm of the reference's tensor.
#
# A network with L layers of weights computes 2L + 1 products in sequence, 11 for the deepest network checked. Rounding
# errors are nearly independent, so the error of a sum of n terms is about sqrt(n) * u of the norm of its terms, where u
# is half a unit in the last place: 32 u for the 1,024 terms of the widest layers and batches. Cancellation within a sum
# loses up to one more digit (a factor of 10; the networks here are drawn so that none loses more). Together
# 11 * 32 * 10 = 3,500 u, rounded to a power of ten well above the errors of correct implementations and below those of
# the next lower precision. Both columns were measured on the networks and workloads here:
#
#              u        3,500 u    allowed    worst correct        lower precision inside
#   float64    1.1e-16  3.9e-13    1e-12      3e-15                float32: 2e-8 and more
#   float32    6.0e-08  2.1e-04    1e-4       3e-6                 TF32, float16: 3e-4 and more
TOLERANCES = {"float64": 1e-12, "float32": 1e-4}
SENSITIVE = 0.025  # of a tensor, or of its move: the distance of perturbed references from which on rounding decides
MARGIN = 2.0  # times the distance of perturbed results


def tolerance(dtype: str) -> float:
    """Return the largest allowed relative error for `dtype`; raises ValueError if none is defined."""
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype: expected one with a tolerance, {' or '.join(TOLERANCES)}, got {dtype}")
    return TOLERANCES[dtype]


def step_rounding(examples: int, dtype: str) -> float:
    """Return what steps with so many examples may round off parameters, relative to the parameters.

    Parameters are no more accurate than their last place, and each addition to them rounds again. Roundings are
    independent and grow with the square root of their number; one per example is allowed.
    """
    return float(np.finfo(dtype).eps) * math.sqrt(examples)


def named_tensors(parameters: Any) -> dict[str, Any]:
    """Return all tensors by name; raises TypeError or ValueError if this is not a pair of sequences."""
    weights, biases = parameters
    return {f"weights[{n}]": W for n, W in enumerate(weights)} | {f"biases[{n}]": b for n, b in enumerate(biases)}


def norms(parameters: Parameters, start: Parameters | None = None) -> dict[str, float]:
    """Return the norm of each tensor by name, or of its move since `start`."""
    before = named_tensors(start) if start else {}
    with np.errstate(all="ignore"):
        return {
            name: float(np.linalg.norm(tensor - np.asarray(before.get(name, 0.0), np.float64)))
            for name, tensor in named_tensors(parameters).items()
        }


def gradient_errors(result: Any, expected: Parameters, dtype: str, perturbed: Sequence[Parameters] = ()) -> str:
    """Compare a gradient with the reference's: norm of the difference / norm of the reference's, per tensor.

    Rounding may lead twice as far as in the `perturbed` gradients. Raises ValueError if `dtype` has no tolerance.
    """
    relative, spread = tolerance(dtype), distances(expected, perturbed)
    allowed = {name: relative * (norm or 1.0) + MARGIN * spread[name] for name, norm in norms(expected).items()}
    return compare(result, expected, allowed, relative=True)[0]


def parameter_errors(
    result: Any,
    before: Parameters,
    expected: Parameters,
    examples: int,
    dtype: str,
    perturbed: Sequence[Parameters] = (),
) -> str:
    """Compare parameters after gradient steps with the reference's, relative to how far the reference moved them.

    `before` and `expected` are the reference's before and after the steps; `examples` counts the examples of all steps.
    Rounding may lead twice as far as in the `perturbed` parameters. Raises ValueError if `dtype` has no tolerance.
    """
    moves, allowed = norms(expected, before), rounding_errors(expected, examples, dtype, perturbed)
    relative = tolerance(dtype)
    return compare(result, expected, {name: relative * moves[name] + allowed[name] for name in allowed})[0]


def rounding_errors(
    expected: Parameters, examples: int, dtype: str, perturbed: Sequence[Parameters]
) -> dict[str, float]:
    """Return how far steps with so many examples may lead each tensor of correct parameters by rounding alone."""
    rounding, spread = step_rounding(examples, dtype), distances(expected, perturbed)
    return {name: MARGIN * spread[name] + rounding * norm for name, norm in norms(expected).items()}


def compare(
    result: Any, expected: Parameters, allowed: Mapping[str, float], *, relative: bool = False
) -> tuple[str, float]:
    """Compare tensors with `expected` ones, given the norm of the difference that each is `allowed` by name.

    Return the errors as text, `relative` to the norms of the expected tensors or absolute, the worst one first; and the
    worst share of what is allowed: infinite for a tensor that cannot be compared.
    """
    errors, pairs = _matched(result, expected)
    shares = [(math.inf, error) for error in errors]
    with np.errstate(all="ignore"):
        for name, tensor, reference in pairs:
            limit, difference = allowed[name], float(np.linalg.norm(tensor - reference))
            share = difference / limit if limit > 0.0 else math.inf if difference else 0.0
            unit = float(np.linalg.norm(reference)) if relative else 0.0
            text = f"relative error {difference / unit:.1e}" if unit else f"error {difference:.1e}"
            text = f"{name}: {text}, allowed {limit / (unit or 1.0):.0e}"
            shares.append((math.inf if math.isnan(share) else share, text))
    shares.sort(key=lambda pair: -pair[0])
    return "; ".join(error for share, error in shares if share > 1.0), max((share for share, _ in shares), default=0.0)


def distances(expected: Parameters, perturbed: Sequence[Parameters]) -> dict[str, float]:
    """Return the largest distance of a perturbed result from the reference, by tensor."""
    apart = [norms(expected, tensors) for tensors in perturbed]
    return {name: max((norm[name] for norm in apart), default=0.0) for name in named_tensors(expected)}


def is_sensitive(expected: Parameters, perturbed: Sequence[Parameters], before: Parameters | None = None) -> bool:
    """Return whether rounding may lead a tensor so far away that nothing can be said of it.

    Compared is with the move since `before`, if given, or else with the tensor itself. Where small perturbations
    have grown that much, they do not grow in proportion, and eight of them do not tell how far a ninth would get.
    """
    apart = distances(expected, perturbed)
    return any(apart[name] > SENSITIVE * norm for name, norm in norms(expected, before).items())


# --- After many steps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stop:
    """The reference's parameters before and after some steps, some of them perturbed, and the examples of all steps.

    Twice the distance of the perturbed parameters is allowed, and besides one rounding per example, for implementations
    that add each example's share to the parameters by itself (`step_rounding`). Measured on the workloads of the
    default run (tests/impls/conformance/test_trajectory.py repeats it): the worst correct implementation reaches a
    fifth of that. Among hundreds of steps, one that is left out or taken twice is over it 9 times in float32 and 10^9
    times in float64; one step that forgets one of its ten examples, 4 times and 10^8 times.
    """

    start: Parameters
    expected: Parameters
    perturbed: tuple[Parameters, ...]
    examples: int
    dtype: str

    @property
    def undecided(self) -> bool:
        """Return whether rounding decides where the steps lead, as with a wide network and a large learning rate."""
        return is_sensitive(self.expected, self.perturbed, self.start)

    def errors(self, result: Any) -> tuple[str, float]:
        """Return what is wrong with parameters in words, "" for nothing, and the worst share of what is allowed."""
        allowed = rounding_errors(self.expected, self.examples, self.dtype, self.perturbed)
        return compare(result, self.expected, allowed)


def trajectory(
    parameters: Parameters,
    steps: Iterable[GradientStep],
    stops: Iterable[int],
    dtype: str,
    cost: str = "quadratic",
    perturbations: int = 1,
) -> Iterator[Stop]:
    """Return where the reference stands after each of the numbers of steps in `stops`, which must grow."""
    exact = Trajectory(parameters, cost)
    perturbed = [Trajectory(parameters, cost, dtype, seed) for seed in range(perturbations)]
    examples = taken = 0
    remaining = iter(steps)
    for stop in stops:
        while taken < stop:
            x, y, learning_rate = next(remaining)
            for walk in (exact, *perturbed):
                walk.step(x, y, learning_rate)
            taken, examples = taken + 1, examples + len(x)
        yield Stop(parameters, exact.parameters, tuple(walk.parameters for walk in perturbed), examples, dtype)


# --- Other comparisons -----------------------------------------------------------------------------------------------


def differences(result: Any, expected: Parameters) -> str:
    """Compare a copy with its original: every number must be equal, and NaN equals NaN."""
    errors, pairs = _matched(result, expected)
    errors += [
        f"{name}: differs" for name, tensor, reference in pairs if not np.array_equal(tensor, reference, equal_nan=True)
    ]
    return "; ".join(errors)


def missing_nans(result: Any, expected: Parameters) -> str:
    """Compare where NaN is: it must be wherever the reference has it."""
    errors, pairs = _matched(result, expected)
    for name, tensor, reference in pairs:
        missing = np.isnan(reference) & ~np.isnan(tensor)
        if np.any(missing):
            errors.append(f"{name}: {np.sum(missing)} of {np.sum(np.isnan(reference))} expected NaNs are missing")
    return "; ".join(errors)


def infinities(result: Any) -> str:
    """Name the tensors with an infinity or a NaN."""
    return "; ".join(
        f"{name}: not finite" for name, tensor in named_tensors(result).items() if not np.all(np.isfinite(tensor))
    )


def type_errors(result: Any, dtype: str) -> str:
    """Name the tensors that are not NumPy arrays of `dtype`."""
    errors = []
    for name, tensor in named_tensors(result).items():
        if not isinstance(tensor, np.ndarray):
            errors.append(f"{name}: expected a NumPy array, got {type(tensor).__name__}")
        elif tensor.dtype != np.dtype(dtype):
            errors.append(f"{name}: expected {dtype}, got {tensor.dtype}")
    return "; ".join(errors)


def _matched(result: Any, expected: Parameters) -> tuple[list[str], list[tuple[str, Array, Array]]]:
    """Match tensors by name: return what cannot be compared, as text, and the rest as pairs in float64."""
    try:
        named = named_tensors(result)
    except (TypeError, ValueError):
        return [f"expected a pair of lists, weights and biases, got {type(result).__name__}"], []
    wanted = named_tensors(expected)
    errors = [f"{name}: missing tensor" for name in sorted(wanted.keys() - named)]
    errors += [f"{name}: unexpected tensor" for name in sorted(named.keys() - wanted)]
    pairs = []
    for name in sorted(wanted.keys() & named):
        if np.shape(named[name]) == wanted[name].shape:
            pairs.append((name, np.asarray(named[name], np.float64), np.asarray(wanted[name], np.float64)))
        else:
            errors.append(f"{name}: expected shape {wanted[name].shape}, got {np.shape(named[name])}")
    return errors, pairs
