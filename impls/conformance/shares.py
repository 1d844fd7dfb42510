"""Sums over a mini-batch in which some examples do not count as they should."""

import numpy as np

from impls.conformance.backprop import Backprop, Case
from impls.conformance.fit import Target
from impls.conformance.scales import LEAST_MULTIPLE, subject_of
from impls.interface import Array

MOST_EXAMPLES = 256  # whose shares in a sum are solved for
MOST_NUMBERS = 10_000_000  # in the equations for these shares


def unequal_shares(target: Target, case: Case) -> str:
    """Return the sentence for a gradient in which the examples do not count 1/B each.

    The gradient is linear in the examples' shares, so these solve a system of linear equations.
    """
    count, names = len(case.x), target.wrong
    numbers = sum(target.right[name].size for name in names)
    if not 1 < count <= min(MOST_EXAMPLES, numbers) or numbers * count > MOST_NUMBERS:
        return ""
    done = Backprop().run(case)
    columns = []
    for name in names:
        layer = int(name.partition("[")[2].rstrip("]"))
        delta, a = done.deltas[layer], done.activations[layer]  # (B, n_out), (B, n_in)
        terms = delta[:, :, np.newaxis] * a[:, np.newaxis, :] if name.startswith("weights") else delta
        columns.append(terms.reshape(count, -1))
    matrix = np.concatenate(columns, axis=1).T  # (numbers, B); its rows add up to the right gradient
    if not np.all(np.isfinite(matrix)):
        return ""
    shares = np.linalg.lstsq(matrix, np.concatenate([target.tensors[name].ravel() for name in names]), rcond=None)[0]
    sentence, exact = _shares_in_words(shares)
    if not sentence:
        return ""
    candidate, parts = dict(target.right), np.split(matrix @ exact, np.cumsum([c.shape[1] for c in columns])[:-1])
    candidate |= {name: part.reshape(candidate[name].shape) for name, part in zip(names, parts, strict=True)}
    if not target.is_explained_by(candidate, fitted_numbers=count):
        return ""
    everything = list(target.right)
    return sentence if names == everything else f"{subject_of(names, everything, steps=False)}: {sentence}"


def _shares_in_words(shares: Array) -> tuple[str, Array]:
    """Return what the examples count instead of 1 each, in words and as whole multiples; "" for no simple rule."""
    used = np.abs(shares) > LEAST_MULTIPLE
    for unit in (1.0, len(shares) / max(used.sum(), 1), float(len(shares))):
        times = np.round(shares / unit)
        equal = times.min() == times.max()
        if np.abs(shares / unit - times).max() > LEAST_MULTIPLE or times.min() < 0.0 or equal:
            continue
        alike = np.ptp(times[used]) == 0.0
        if not alike:
            return f"{_numbered(times > times[used].min())} more than once", times * unit
        if 2 * used.sum() <= len(shares):
            return f"only {_numbered(used)}", times * unit
        if not used.all():
            return f"{_numbered(~used)} not at all", times * unit
    return "", shares


def _numbered(chosen: Array) -> str:
    """Return "example 3 of 7 counts", "examples 2 to 4 of 7 count"."""
    numbers = np.flatnonzero(chosen) + 1
    if len(numbers) == 1:
        return f"example {numbers[0]} of {len(chosen)} counts"
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"examples {numbers[0]} to {numbers[-1]} of {len(chosen)} count"
    listed = ", ".join(map(str, numbers[:6])) + (", …" if numbers[6:].size else "")
    return f"examples {listed} of {len(chosen)} count"
