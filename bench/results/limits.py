"""How much slower a row may become before a gate fails: one limit for all, and others by row and by workload.

A limits file is TOML:

    fail-on = "5%"

    [rows]  # on any workload
    jax = "10%"

    [workloads.large-all]
    "*" = "8%"
    in_place = "6%"
"""

import tomllib
from pathlib import Path

import msgspec

from impls.errors import UserError

MARGIN = 0.03  # within which a change between two runs does not matter, where no limit is given …
AGAINST_MARGIN = 0.015  # … and one between two rows of the same rounds
ALL = "*"


class Limits(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """The limits of a gate, as they stand in a file."""

    fail_on: str = f"{100 * MARGIN:g}%"
    rows: dict[str, str] = {}
    workloads: dict[str, dict[str, str]] = {}

    def of(self, workload: str, label: str) -> float:
        """Return how much longer a row may take, as a share; the most particular limit counts."""
        of_workload = self.workloads.get(workload, {})
        text = of_workload.get(label) or self.rows.get(label) or of_workload.get(ALL) or self.fail_on
        return percent(text, f"limit of {label} on {workload}")


def percent(text: str, what: str) -> float:
    """Return "5%" as 0.05. Raises UserError that begins with `what` if the text is not a percentage above 0."""
    try:
        plain = text.isascii() and "_" not in text and text.strip().endswith("%")  # float() takes more than we write
        value = float(text.strip().removesuffix("%")) / 100 if plain else 0.0
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 100.0:
        raise UserError(f"{what}: expected a percentage above 0 %, as 5%, found {text!r}")
    return value


def read(path: Path) -> Limits:
    """Return the limits in a file. Raises UserError if it cannot be read or is not one."""
    try:
        limits = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Limits)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: not a limits file: {error}") from error
    for workload, by_label in {"": limits.rows, **limits.workloads}.items():
        for label, text in by_label.items():
            percent(text, f"{path}: limit of {label}{f' on {workload}' * bool(workload)}")
    percent(limits.fail_on, f"{path}: fail-on")
    return limits
