"""Read results files, or say in one line why they cannot be read."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from bench.records import SCHEMA, Results
from impls.support.errors import UserError
from impls.support.text import one_line

NOT_OURS = "not a results file of backprop-bench"
RESULTS = "results.json"  # in the folder of a run
LATEST = Path("results/latest.json")  # of the current folder: what commands read that are not given a file
BEGINNING = 10_000  # bytes that tell what a text is
RECORDING = re.compile(r'# \{.*"steps_per_second"')
STACKS = re.compile(r"(#.*\n)*[^\n]*;[^\n]* \d+(\n|$)")  # the root first, the number of samples last
DRAWN = "flamegraph.pl and https://www.speedscope.app draw them; backprop profile NAME records a row"


def to_builtins(results: Results) -> dict[str, Any]:
    """Return results as they stand in a results file, ready for a JSON encoder."""
    builtins: dict[str, Any] = msgspec.to_builtins(results)
    return builtins


def file_of(path: Path) -> Path:
    """Return the results file that a user names: the file itself, or the folder of a run."""
    return path / RESULTS if path.is_dir() else path


def read(path: Path) -> Results:
    """Return the results in a file. Raises UserError if it is not one that this version can read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "; make some with: backprop bench" if path == LATEST else ""
        raise UserError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    try:
        content = json.loads(data)
        ours: Any = _printable(content.get(Results.KEY)) if isinstance(content, dict) else None
    except (ValueError, RecursionError) as error:
        kind = kind_of(data)
        raise UserError(
            f"{path}: {f'{NOT_OURS}, but {kind}' if kind else f'not JSON, or truncated: {error}'}"
        ) from error
    schema = ours.get("schema") if isinstance(ours, dict) else None
    if type(schema) is not int or schema < 1:
        kind = kind_of(data) if ours is None else ""
        expected = f": expected the key {Results.KEY!r} with a schema number"
        raise UserError(f"{path}: {NOT_OURS}{f', but {kind}' if kind else expected}")
    if schema != SCHEMA:
        hint = "install a newer backprop-bench" if schema > SCHEMA else "run backprop bench again"
        raise UserError(f"{path}: expected schema {SCHEMA}, found {schema}; {hint}")
    try:
        results = msgspec.convert(ours, Results)
        _ = results.started  # Runs are put in order by their dates.
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{path}: damaged or edited by hand: {error}; run the benchmark again") from error
    return results


def _printable(value: Any) -> Any:
    """Return a value of JSON with every text in it as one line: it is shown in terminals, in XML and in Markdown."""
    if isinstance(value, str):
        return value if value.isprintable() else one_line(value)
    if isinstance(value, list):
        return [each if isinstance(each, float) else _printable(each) for each in value]
    return {_printable(key): _printable(each) for key, each in value.items()} if isinstance(value, dict) else value


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
    return ""


def _kind_of_text(text: str) -> str:
    if RECORDING.match(text):
        return "a recording: backprop profile FILE draws it, backprop report --recordings=FOLDER shows it"
    if STACKS.match(text):
        return f"collapsed stacks without a first line that says what was recorded: {DRAWN}"
    return ""
