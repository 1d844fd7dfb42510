"""The command line: what it prints, its exit status, and one clear line for every mistake."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import cli
from bench.training import load_network
from impls import RowError

FAULTY = Path(__file__).parent / "faulty_rows.py"
Backprop = Callable[..., tuple[int, str, str]]


@pytest.fixture
def backprop(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Backprop:
    """Return a function that runs the command line and gives exit status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["backprop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_list(backprop: Backprop) -> None:
    status, out, _ = backprop("list")
    assert status == 0
    assert "in_place" in out
    status, out, _ = backprop("list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["per_example"]["available"]
    assert rows["per_example"]["summary"]


def test_verify_a_sound_row(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", "batched_2d")
    assert (status, out) == (0, "batched_2d: conforms\n")


def test_verify_names_every_violation(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:Wrong")
    assert status == 1
    assert "Wrong: gradient: " in out


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("Segfaults", "crashed: the worker ended with SIGSEGV"),
        ("Hangs", "timed out: no answer within 3 s"),
        ("ExitsHard", "crashed: the worker ended with exit status 7; its last words: goodbye"),
        ("Exits", "SystemExit"),
        ("Raises", "RuntimeError"),
        ("Missing", "expected a subclass of impls.interface.Implementation"),
    ],
)
def test_verify_survives_whatever_the_row_does(backprop: Backprop, row: str, words: str) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:{row}", "--time-out", 3 if row == "Hangs" else 60)
    assert status == 1
    assert words in out


def test_verify_is_not_fooled_by_what_a_row_prints(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:Prints")
    assert (status, out) == (0, "Prints: conforms\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify", "in_plaec"), "unknown implementation 'in_plaec'; did you mean in_place?"),
        (("verify", "no/such.py:Row"), "there is no file no/such.py"),
        (("train", "--impl", "nothing"), "unknown implementation 'nothing'"),
        (("train", "--epochs", "0"), "0 is not in the range"),
        (("train", "--batch-size", "-1"), "-1 is not in the range"),
        (("train", "--learning-rate", "nan"), "nan"),
        (("train", "--sizes", "784-x-10"), "expected positive layer sizes as 784-30-10, found '784-x-10'"),
        (("train", "--sizes", "784-0-10"), "expected positive layer sizes"),
        (("train", "--sizes", "100-30-10"), "expected 784 inputs and 10 outputs"),
        (("train", "--threads", "4096"), "this process may use"),
        (("train", "--threads", "0"), "0 is not in the range"),
        (("train", "--dtype", "float16"), "float16"),
        (("train", "--impl", "pure_python", "--dtype", "float32"), "PurePython computes in float64, got float32"),
        (("train", "--data", "/no/such/folder"), "/no/such/folder"),
        (("train", "--epochs", "1", "--save", "/proc/none/network.npz"), "cannot be written"),
        (("plot", "/no/such.json"), "cannot be read"),
        (("plto",), "plto"),
        (("train", "--speed", "3"), "--speed"),
    ],
)
def test_a_mistake_is_told_in_one_line(backprop: Backprop, arguments: tuple[str, ...], words: str) -> None:
    status, _, err = backprop(*arguments)
    assert status in (1, 2)
    assert words in err
    assert err.startswith("backprop: error: ")
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(backprop: Backprop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["backprop", "--debug", "verify", "nothing"])
    with pytest.raises(RowError):
        cli.main()


def test_train_prints_the_books_lines_and_saves(backprop: Backprop, tmp_path: Path) -> None:
    saved = tmp_path / "network.npz"
    status, out, err = backprop("train", "--data", "digits", "--epochs", 2, "--save", saved)
    lines = out.splitlines()
    assert status == 0, err
    assert lines[0].startswith("Epoch 0: ")
    assert lines[1].startswith("Epoch 1: ")
    assert lines[0].endswith(" / 297")
    network = load_network(saved)
    assert [W.shape for W in network.weights] == [(30, 784), (10, 30)]
    assert all(np.isfinite(W).all() for W in network.weights)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"benchmarks": [', "not JSON, or truncated"),
        ("[1, 2]", "not a results file of backprop-bench"),
        ('{"benchmarks": []}', "not a results file of backprop-bench"),
        ('{"backprop_bench": {"schema": 99}}', "schema 99, this version reads up to 1"),
        ('{"backprop_bench": {"schema": 1, "rows": []}}', "lacks notes, settings, workloads"),
    ],
)
def test_plot_refuses_what_it_cannot_read(backprop: Backprop, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    status, _, err = backprop("plot", path)
    assert status == 2
    assert words in err
    assert list(tmp_path.iterdir()) == [path]
