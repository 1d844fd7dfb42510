"""What options give: numbers that are positive, finite, and no longer a time than clocks can tell; and vain ones."""

import math
from collections.abc import Iterable
from typing import Any

import click

from impls.errors import UserError

MOST = 1e6  # of anything that is counted or timed: 11 days in seconds
VAIN = {  # options of pytest-benchmark about sampling, which is not its part here
    "--benchmark-calibration-precision",
    "--benchmark-disable-gc",
    "--benchmark-max-time",
    "--benchmark-min-rounds",
    "--benchmark-min-time",
    "--benchmark-timer",
    "--benchmark-warmup",
    "--benchmark-warmup-iterations",
}


def positive(option: str, text: str, whole: bool = False) -> float:
    """Return the number that an option gives, up to `MOST`. Raises UserError."""
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number <= MOST or (whole and number != int(number)):
        kind = "a whole number of at least 1" if whole else "a positive number"
        raise UserError(f"{option}: expected {kind} and at most {MOST:.0f}, found {text[:40]!r}")
    return number


def per_cent(option: str, text: str) -> float:
    """Return the share that an option gives as "1%" or "1 %". Raises UserError."""
    number = text.removesuffix("%").strip()
    try:
        share = positive(option, number) / 100
    except UserError:
        share = math.nan
    if number == text or not 0 < share < 1:
        raise UserError(f"{option}: expected per cent such as 1% or 0.5%, found {text[:40]!r}")
    return share


def vain(arguments: Iterable[str]) -> str:
    """Return a note if there are options of pytest-benchmark among the arguments that have no effect; or ""."""
    found = sorted({argument.split("=")[0] for argument in arguments} & VAIN)
    words = "no effect here; --seconds and --generations say how much is sampled"
    return f"note: {', '.join(found)}: {words}" if found else ""


class Seconds(click.FloatRange):
    """A time that an option of click gives, in seconds."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=MOST)

    def convert(self, value: Any, parameter: click.Parameter | None, _context: click.Context | None) -> float:
        """Return the seconds. Raises UserError."""
        return positive(parameter.opts[0] if parameter else self.name, str(value))
