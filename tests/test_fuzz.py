"""Whatever file or message somebody else wrote is read, or refused in one line: mutations of good ones."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_results import made_up_results
from made_up_scaling import made_up

from bench import training
from bench.analysis import results_files, scaling
from bench.analysis.verdict import read_limits
from bench.records import UNREADABLE, Outcome, Results
from bench.training import Epoch, TrainingSettings
from bench.worker.protocol import Failure, Taken
from impls import ROOT
from impls.interface import Parameters
from impls.support.errors import UserError
from profiles import recording

CHECKPOINT = TrainingSettings((3, 2), batch_size=1, implementation="in_place", data="digits")
NOISE = [b"null", b"-1", b"1e308", b"9" * 40, b"[" * 400, b'"', b"\\u0000", b"\xff" * 4, b"\x80", b"NaN", b"\n"]


def read_reply(path: Path) -> None:
    try:
        msgspec.json.decode(path.read_bytes(), type=Failure | Taken)
    except UNREADABLE as error:
        raise UserError("unreadable") from error


READERS: dict[str, Callable[[Path], object]] = {
    "results.json": results_files.read,
    "scaling.json": scaling.read,
    "in_place.raw.txt": recording.read,
    "limits.toml": read_limits,
    "checkpoint.npz": lambda path: training.resume(path, path.read_bytes(), CHECKPOINT),
    "reply": read_reply,
}


def good(name: str) -> bytes:
    """Return the content of a good file."""
    match name:
        case "results.json":
            return json.dumps({Results.KEY: results_files.to_builtins(made_up_results())}).encode()
        case "scaling.json":
            return msgspec.json.encode(made_up())
        case "in_place.raw.txt":
            path = min((ROOT / "profiles" / "recordings").glob("*.raw.txt"))
            return "\n".join(path.read_text().splitlines()[:21]).encode()
        case "limits.toml":
            return b'fail-on = "5%"\n[rows]\njax = "10%"\n[workloads.book]\n"*" = "8%"\n'
        case "reply":
            return msgspec.json.encode(Failure(Outcome.CRASHED, "why"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        training.write_checkpoint(path, CHECKPOINT, Epoch(0, 1, 1, 1.0, Parameters([np.ones((2, 3))], [np.ones(2)])))
        return path.read_bytes()


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a good content with a few bytes changed, dropped, or put in."""
    mutant = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(mutant)))
        stop = min(len(mutant), start + draw(st.integers(0, 8)))
        mutant[start:stop] = draw(st.binary(max_size=8) | st.sampled_from(NOISE))
    return bytes(mutant)


@pytest.mark.slow("tries hundreds of inputs")
@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused_in_a_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(good(name))
    READERS[name](path)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=mutated(good(name)))
    def read(content: bytes) -> None:
        path.write_bytes(content)
        message = ""
        try:
            READERS[name](path)
        except UserError as error:
            message = str(error).strip()
        assert "\n" not in message

    read()


@pytest.mark.parametrize("name", ["results.json", "scaling.json", "reply"])
def test_text_that_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b'{"reply":"failure","outcome":"\x80","reason":"","schema":1,"date":"\x80"}')
    with pytest.raises(UserError):
        READERS[name](path)
