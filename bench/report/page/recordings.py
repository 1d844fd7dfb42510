"""Recordings for the report: what reads them lies above, and is imported when it is used."""

import importlib
from pathlib import Path

from bench.report.page.facts import Recorded

RECORDINGS = Path("profiles")  # where `backprop profile` puts them


def recorded(folder: Path = RECORDINGS) -> list[Recorded]:
    """Return what was recorded in a folder. Raises UserError if a recording cannot be read."""
    found: list[Recorded] = importlib.import_module("profiles.page").recorded(folder)
    return found
