"""Results files: what is written is read again, and a damaged one is told in one line."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_up_results import ROUNDS, made_up_results

from bench.analysis import results_files
from bench.records import SCHEMA, Outcome, Process, Result, Results, Sample
from bench.worker import protocol

Backprop = Callable[..., tuple[int, str, str]]


def content_of(results: Results) -> dict[str, Any]:
    """Return what a results file holds, beside pytest-benchmark's part."""
    content: dict[str, Any] = json.loads(json.dumps({Results.KEY: results_files.to_builtins(results)}))
    return content


# --- Round trips -------------------------------------------------------------------------------------------------


def test_results_survive_their_file(tmp_path: Path) -> None:
    results = made_up_results()
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content_of(results)))
    assert results_files.read(path) == results
    assert results.schema == SCHEMA == 4


def test_every_text_of_a_file_is_one_printable_line(tmp_path: Path) -> None:
    """In lists, as keys and as values; spaces that can be printed stay as they are."""
    path = tmp_path / "results.json"
    content = copy.deepcopy(GOOD)
    content[Results.KEY] |= {"data": "a\nb", "notes": [{"text": "two  spaces"}, {"text": "a \x1b[31m\n b"}]}
    content[Results.KEY]["machine"]["versions"] = {"nu\nmpy": "1\t2"}
    path.write_text(json.dumps(content))
    results = results_files.read(path)
    assert (results.data, *map(str, results.notes)) == ("a b", "two  spaces", "a \ufffd[31m b")
    assert results.machine.versions == {"nu mpy": "1 2"}


def test_a_sample_is_an_array_in_json() -> None:
    result = content_of(made_up_results())[Results.KEY]["rows"][0]
    assert result["processes"][0]["samples"] == [[number, 4e-4, 4e-4] for number in range(ROUNDS)]
    assert msgspec.json.encode(Sample(3, 0.5)) == b"[3,0.5,null]"
    assert msgspec.json.decode(b"[3,0.5]", type=Sample) == Sample(3, 0.5, None)


@pytest.mark.parametrize("line", [b"", b'{"do": "dance"}', b'{"do": "loop"}', b'{"do": "loop", "seconds": "1"}'])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line, type=protocol.AnyRequest)


CALIBRATION = protocol.Calibration(3, 0.1)
PREPARED = protocol.Prepared(CALIBRATION, [], 0.0, [], {}, "quadratic", children=False, first_call=None)
TAKEN = protocol.Taken(0.0, 1.0, 1.0, 1.0, 1, 1, 0.0, 0.0, 0.0, 0.0, 1, 0)
HANDED_OVER = protocol.HandedOver([protocol.Tensor("float64", (2,))], [], children=False)


@pytest.mark.parametrize(
    ("reply", "changes"),
    [
        (PREPARED, {"calibration": {"calls": 1, "call_seconds": None}}),  # as NaN and infinity are encoded
        (PREPARED, {"calibration": {"calls": 0, "call_seconds": 1.0}}),
        (PREPARED, {"cost": "none"}),
        (TAKEN, {"calls": 0}),
        (HANDED_OVER, {"weights": [{"dtype": "float64", "shape": [-1]}]}),
        (protocol.Failure(Outcome.INCORRECT, ""), {"outcome": "ok"}),
    ],
)
def test_a_reply_with_numbers_that_cannot_be_is_refused(reply: msgspec.Struct, changes: dict[str, Any]) -> None:
    """Else they would be divided by, or followed for ever."""
    content = msgspec.to_builtins(reply)
    assert msgspec.convert(content, type(reply)) == reply
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(content | changes, type(reply))


def test_samples_are_sorted_by_generation() -> None:
    result = Result(
        "w", "r", "r", 1, processes=[Process(2, 1, samples=[Sample(0, 1.0), Sample(4, 2.0)]), Process(0, 1)]
    )
    assert result.samples == [{}, {}, {0: 1.0, 4: 2.0}]


def test_a_row_without_samples_has_no_time() -> None:
    sampled = Process(1, 1, samples=[Sample(0, 1.0)])
    assert not Result("w", "r", "r", 1, seconds=1.0, processes=[Process(0, 1)]).timed
    assert Result("w", "r", "r", 1, seconds=1.0, processes=[Process(0, 1), sampled]).timed
    assert not Result("w", "r", "r", 1, processes=[sampled]).timed


def test_a_date_without_a_time_zone_is_in_utc() -> None:
    results = made_up_results()
    assert results.started.isoformat() == "2026-01-31T12:00:00+01:00"
    results.date = "2026-01-31T12:00:00"
    assert results.started.isoformat() == "2026-01-31T12:00:00+00:00"


# --- Files that cannot be read -----------------------------------------------------------------------------------


def changed(content: dict[str, Any], value: object, *place: str | int) -> str:
    """Return the JSON of a results file with another value at a place in our section."""
    content = copy.deepcopy(content)
    within: Any = content[Results.KEY]
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    return json.dumps(content)


def lacking(content: dict[str, Any], *place: str | int) -> str:
    """Return the JSON of a results file without what is at a place in our section."""
    content = copy.deepcopy(content)
    within: Any = content[Results.KEY]
    for key in place[:-1]:
        within = within[key]
    del within[place[-1]]
    return json.dumps(content)


GOOD = content_of(made_up_results())
SECTION = "expected the key 'backprop_bench' with a schema number"
BAD_FILES: dict[str, tuple[str, str]] = {
    "truncated": (json.dumps(GOOD)[:-100], "not JSON, or truncated"),
    "brackets": ("[" * 100_000, "not JSON, or truncated"),
    "section is a list": ('{"backprop_bench": []}', SECTION),
    **{f"schema {bad!r}": (changed(GOOD, bad, "schema"), SECTION) for bad in (True, 0, "2")},
    "schema 3": (changed(GOOD, 3, "schema"), "expected schema 4, found 3; run backprop bench again\n"),
    "schema 5": (changed(GOOD, 5, "schema"), "expected schema 4, found 5; install a newer backprop-bench\n"),
    "row lacks its label": (lacking(GOOD, "rows", 1, "label"), "missing required field `label` - at `$.rows[1]`"),
    "no such dtype": (changed(GOOD, "", "workloads", 0, "workload", "dtype"), "workloads[0].workload.dtype"),
    "no time": (changed(GOOD, 0.0, "rows", 0, "seconds"), ">= 1e-12 - at `$.rows[0].seconds`"),
    "no date": (changed(GOOD, "", "date"), "Invalid isoformat string: ''; run the benchmark again"),
    **{
        f"sample {sample}": (changed(GOOD, [sample], "rows", 0, "processes", 0, "samples"), ".samples[0]")
        for sample in ([0, 1e10], [1], [0, "1"])
    },
}


@pytest.mark.parametrize(("content", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_damaged_file_is_told_in_one_line(backprop: Backprop, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    status, out, err = backprop("plot", path)
    assert (status, out) == (2, "")
    assert err.startswith(f"backprop: error: {path}: ")
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


OTHER_FILES = {
    '{"machine_info": {}, "benchmarks": []}': "a run of pytest-benchmark without backprop-bench",
    '{"schema": 1, "points": [], "predicted": []}': "what backprop scale measured: backprop report --scaling=FILE",
    '# {"row": "in_place", "steps_per_second": 1.0}\na;b 3\n': "a recording: backprop profile FILE draws it",
    "main;f (a.py:3) 12\nmain;g 4\n": "collapsed stacks without a first line that says what was recorded",
}


@pytest.mark.parametrize(("content", "kind"), OTHER_FILES.items(), ids=OTHER_FILES.values())
def test_a_file_of_another_kind_is_told_with_what_reads_it(
    backprop: Backprop, tmp_path: Path, content: str, kind: str
) -> None:
    path = tmp_path / "in_place.folded"
    path.write_text(content)
    status, out, err = backprop("compare", path)
    assert (status, out) == (2, "")
    assert err.startswith(f"backprop: error: {path}: not a results file of backprop-bench, but {kind}")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there(backprop: Backprop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.json"
    status, _, err = backprop("plot", path)
    assert (status, err) == (2, f"backprop: error: {path}: cannot be read: No such file or directory\n")
    monkeypatch.chdir(tmp_path)
    _, _, err = backprop("plot")
    assert "results/latest.json: cannot be read: No such file or directory; make some with: backprop bench" in err
