"""What a file holds that was given to a command which reads others: told from its content, with what reads it."""

import json
import re
from typing import Any

from bench.records import Results

BEGINNING = 10_000  # bytes that tell what a text is
RECORDING = re.compile(r'# \{.*"steps_per_second"')
STACKS = re.compile(r"(#.*\n)*[^\n]*;[^\n]* \d+(\n|$)")  # the root first, the number of samples last
DRAWN = "flamegraph.pl and https://www.speedscope.app draw them; backprop profile NAME records a row"


def kind_of(content: bytes) -> str:
    """Return in words what a file holds, with what reads it, for an error of one line; "" if it is not known."""
    try:
        return _kind_of_json(json.loads(content))
    except (ValueError, RecursionError):
        return _kind_of_text(content[:BEGINNING].decode(errors="replace"))


def _kind_of_json(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    if Results.KEY in content:
        return "a run of backprop bench: backprop report shows it"
    if {"benchmarks", "machine_info"} <= content.keys():
        return "a run of pytest-benchmark without backprop-bench: pytest-benchmark compare shows it"
    if {"points", "predicted"} <= content.keys():
        return "what backprop scale measured: backprop report --scaling=FILE shows it"
    if "speedscope" in str(content.get("$schema")):
        return "a profile for https://www.speedscope.app"
    return ""


def _kind_of_text(text: str) -> str:
    if RECORDING.match(text):
        return "a recording: backprop profile FILE draws it, backprop report --recordings=FOLDER shows it"
    if STACKS.match(text):
        return f"collapsed stacks without a first line that says what was recorded: {DRAWN}"
    return "a picture: a browser shows it" if "<svg" in text else ""
