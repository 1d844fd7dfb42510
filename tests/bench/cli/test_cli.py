"""The command line: what it prints, its exit status, and one clear line for every mistake."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from made_up_results import made_up_results

from bench.analysis.results_files import to_builtins
from bench.cli import main
from bench.cli.commands import COMMANDS, cli
from bench.records import Outcome, Results
from impls import ROOT, registry
from impls.registry import ENTRIES, Entry
from impls.support.errors import RowError
from impls.support.loading import Target
from impls.support.needs import Needs

FAULTY = ROOT / "tests" / "support" / "faulty_rows.py"
Backprop = Callable[..., tuple[int, str, str]]


def test_list(backprop: Backprop) -> None:
    status, out, _ = backprop("list")
    assert status == 0
    assert "in_place" in out
    status, out, _ = backprop("list", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert list(listed) == list(registry.entries())
    assert listed["per_example"]["available"]
    assert listed["per_example"]["reason"] is None


def test_list_says_what_to_do_about_an_implementation_that_cannot_run(
    backprop: Backprop, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = Needs(("no_such_module",), lambda: "pip install no-such-thing")
    monkeypatch.setitem(ENTRIES, "ghost", Entry("ghost", Target("impls.ghost", "Ghost"), "not there", needs))
    reason = "needs no_such_module: pip install no-such-thing"
    assert f"no: {reason}" in backprop("list")[1]
    (ghost,) = (entry for entry in json.loads(backprop("list", "--json")[1]) if entry["name"] == "ghost")
    assert ghost == {"name": "ghost", "available": False, "reason": reason, "summary": "not there"}
    status, _, err = backprop("verify", "ghost")
    assert (status, err) == (2, f"backprop: error: ghost is unavailable: it {reason}\n")


def test_verify_a_correct_implementation(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", "mine=batched_2d", "--examples", 20, "--seed", 7)
    assert (status, out) == (0, "mine: conforms (all checks and 20 random programs; --seed 7 repeats them)\n")
    assert backprop("verify", "batched_2d", "--examples", 0)[:2] == (0, "batched_2d: conforms\n")
    assert re.search(r"--seed \d+ repeats", backprop("verify", "batched_2d", "--examples", 2)[1])


def test_verify_bounds_the_time_and_leaves_nothing(
    backprop: Backprop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, out, _ = backprop("verify", "batched_2d", "--examples", 1_000_000, "--seconds", 0.5)
    assert re.search(r"and \d+ random programs in 0.5 s; ", out)
    assert list(tmp_path.iterdir()) == []


def test_verify_shows_a_program_for_what_no_check_finds(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:WrongWhenDeep", "--seed", 3, "--examples", 1000, "--seconds", 60)
    lesson, _, program = out.partition(f"\n\nThis program shows it; backprop verify {FAULTY}:WrongWhenDeep --seed 3")
    assert status == 1
    assert lesson.startswith("WrongWhenDeep: exploration: ")
    assert "found      gradient: weights[" in lesson or "found      parameters: weights[" in lesson
    assert f"checked = CheckedCalls(load_target(Target.parse('{FAULTY}:WrongWhenDeep')))" in program
    assert "examples2 = checked.prepare(" in program


def test_verify_shows_the_program_that_did_not_return(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:SegfaultsWhenDeep", "--seed", 3, "--examples", 1000)
    assert status == 1
    assert "SegfaultsWhenDeep: crashed: the worker ended with SIGSEGV" in out
    program = out.partition("It was running this program")[2]
    assert "--seed 3" in program.splitlines()[0]
    assert "checked.step(" in program or "checked.epoch(" in program


def test_verify_shows_the_simplest_case_of_an_incorrect_implementation(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:Wrong")
    *lines, last = out.splitlines()
    assert status == 1
    assert lines[0] == "Wrong: gradient: 1-2-1, 3 examples, batch size 3, float64, 1 thread"
    assert lines[1] == "  expected   The gradient of all examples is the reference's."
    assert lines[2].startswith("  found      weights[0]: relative error 5.0e-01, allowed 1e-12; ")
    assert "  diagnosis  every weight gradient is 2 times too small: the 1/2 of the cost is counted twice" in lines
    assert last.endswith(", … (--all shows them)")
    assert len(lines) < 10
    assert max(map(len, lines)) <= 100


def test_verify_shows_the_line_of_another_file_and_the_whole_traceback(backprop: Backprop, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import net_of_mine\nfrom impls.interface import Implementation\n\nclass Mine(Implementation):\n"
        "    def gradients(self, batch):\n        return net_of_mine.backward(batch)\n"
    )
    (tmp_path / "net_of_mine.py").write_text("def backward(batch):\n    a = [batch.x]\n    return a[3]\n")
    status, out, _ = backprop("verify", f"{tmp_path / 'mine.py'}:Mine", "-v")
    assert status == 1
    assert "  found      raised IndexError: list index out of range (net_of_mine.py:3)\n" in out
    assert "  at         mine.py:6, in gradients: return net_of_mine.backward(batch)\n" in out
    assert "             net_of_mine.py:3, in backward: return a[3]\n" in out
    assert f'\n\nTraceback (most recent call last):\n  File "{tmp_path / "mine.py"}", line 6, in gradients\n' in out
    assert out.endswith("\nIndexError: list index out of range\n")
    assert out.count("Traceback") == 1


def test_verify_all_names_every_violation(backprop: Backprop) -> None:
    _, out, _ = backprop("verify", f"{FAULTY}:Wrong", "--all")
    assert len(out.splitlines()) > 20
    assert all(line.startswith("Wrong: ") for line in out.splitlines())
    assert "Wrong: gradient: 6-5-4, " in out
    assert "Wrong: many-steps: " in out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Hangs", "timed out: no answer within 3 s"),
        ("ExitsHard", "crashed: the worker ended with exit status 7; its last words: goodbye"),
        ("Missing", "there is no class Missing in faulty_rows.py"),
    ],
)
def test_verify_survives_whatever_the_implementation_does(backprop: Backprop, name: str, words: str) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:{name}", "--time-out", 3 if name == "Hangs" else 60)
    assert status == 1
    assert words in out


@pytest.mark.slow("checks all networks")
def test_verify_sends_no_control_characters_to_the_terminal(backprop: Backprop) -> None:
    status, out, _ = backprop("verify", f"{FAULTY}:Colours", "--all")
    assert status == 1
    assert "RuntimeError: \ufffd[31mred\ufffd long long" in out
    assert not {letter for letter in out if not letter.isprintable()} - {"\n"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify", "in_plaec"), "unknown implementation 'in_plaec'; did you mean in_place?"),
        (("train", "--impl", "a=in_place", "--impl", "a=numba"), "two implementations would be called 'a'"),
        (("verify", "in_place=batched_2d"), "an implementation is already called 'in_place'"),
        (("scale", "--time-out=1e10"), "--time-out: expected a positive number and at most 1000000, found '1e10'"),
        (("scale", f"--ranks={'9' * 5000}"), "expected numbers from 1 to 256 as 1,2,4"),
        (("verify", "two\nlines\x1b[31m"), "unknown implementation 'two\\nlines\\x1b[31m'"),
        (("verify", "\x1b[31m.py:Result"), "\ufffd[31m.py:Result: expected a path and a class in printable letters"),
        (("train", "--epochs", "0"), "0 is not in the range"),
        (("train", "--sizes", "784-x-10"), "--sizes 784-x-10: expected layer sizes as 784-30-10; layer size"),
        (("train", "--sizes", "100-30-10"), "expected 784 inputs and 10 outputs"),
        (("train", "--threads", "4096"), "this process may use"),
        (("train", "--impl", "pure_python", "--dtype", "float32"), "PurePython computes in float64, got float32"),
        (("train", "--epochs", "1", "--save", "/proc/none/network.npz"), "cannot be written"),
        (("plot", "/no/such.json"), "cannot be read"),
        (("compare", "/no/such.json", "--between=in_place,numba"), "cannot be read"),
        (("compare", "--between=in_place"), "--between: expected two implementations as A,B, found 'in_place'"),
        (("compare", "a", "b", "--between=c,d"), "--between: expected one run, found 2"),
        (("plto",), "plto"),
    ],
)
def test_a_mistake_is_reported_in_one_line(backprop: Backprop, arguments: tuple[str, ...], words: str) -> None:
    status, _, err = backprop(*arguments)
    assert status in (1, 2)
    assert words in err
    assert err.startswith("backprop: error: ")
    assert err.count("\n") == 1


def test_train_prints_the_books_lines_and_saves(backprop: Backprop, tmp_path: Path) -> None:
    saved = tmp_path / "network.npz"
    status, out, err = backprop("train", "--data", "digits", "--epochs", 2, "--save", saved)
    lines = out.splitlines()
    assert status == 0, err
    assert lines[0].startswith("Epoch 0: ")
    assert lines[1].startswith("Epoch 1: ")
    assert lines[0].endswith(" / 297")
    with np.load(saved, allow_pickle=False) as network:
        assert [network[name].shape for name in ("weights_0", "weights_1")] == [(30, 784), (10, 30)]
        assert all(np.isfinite(network[name]).all() for name in network)


def test_train_asks_before_it_trains_whether_the_network_can_be_saved(backprop: Backprop, tmp_path: Path) -> None:
    """And puts no file in the place of a device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for option in ("--save", "--checkpoint"):
        status, out, err = backprop("train", "--data", "digits", "--epochs", 1, option, pipe)
        assert (status, out) == (2, "")
        assert err == (
            f"backprop: error: {pipe}: cannot be written: expected a file or nothing there; choose another place\n"
        )
    assert pipe.is_fifo()


# --- The table of commands ---------------------------------------------------------------------------------------


def test_help_imports_no_command() -> None:
    """Nor anything that takes long to import."""
    program = (
        "import sys, json; from bench.cli.main import main; sys.argv = ['backprop', '--help']\n"
        "try: main()\n"
        "except SystemExit as ended: print(json.dumps([ended.code, sorted(sys.modules)]))"
    )
    out = subprocess.check_output([sys.executable, "-c", program], text=True)
    *words, last = out.splitlines()
    status, modules = json.loads(last)
    assert status == 0
    assert not {f"bench.cli.{name}" for name in COMMANDS} & set(modules)
    assert not {"profiles", "numpy", "scipy", "pytest", "matplotlib", "rich", "msgspec"} & set(modules)
    for name, summary in COMMANDS.items():
        (line,) = (line for line in words if line.split()[:1] == [name])
        assert summary.split()[0] in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_has_help_with_an_example(backprop: Backprop, name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help
    status, out, err = backprop(name, "--help")
    assert (status, err) == (0, "")
    assert command.help.split("\n")[0].rstrip(".:") in " ".join(out.split())
    assert re.search(rf"^ +backprop {name}\b", out.split("Usage:")[1].partition("\n")[2], re.MULTILINE)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "\nbackprop: interrupted\n"),
        (
            ValueError("two\nlines"),
            1,
            "backprop: error: ValueError: two lines (test_cli.py:{line}); --debug shows the whole traceback\n",
        ),
        (RowError("not\nthere"), 2, "backprop: error: not there\n"),
    ],
)
def test_how_a_command_may_end(
    backprop: Backprop, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, words: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("bench.cli.list.entries", fail)
    words = words.replace("{line}", str(fail.__code__.co_firstlineno + 1))
    assert backprop("list") == (status, "", words)
    if isinstance(error, Exception):
        monkeypatch.setattr(sys, "argv", ["backprop", "--debug", "list"])
        with pytest.raises(type(error)):
            main.main()


# --- Ctrl-C ------------------------------------------------------------------------------------------------------

INTERRUPT_AT = """
import signal, sys

class Interrupts:  # when a module is looked for
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as interrupt:
                if {hides}:
                    raise AttributeError("half imported") from interrupt
                raise

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
sys.argv = {arguments!r}
from bench.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments", "hides"),
    [
        ("click", ("list",), False),
        ("numpy", ("train",), True),
        ("sklearn.datasets", ("bench", "--data=digits"), False),
    ],
)
def test_an_interrupted_import_ends_in_a_word(module: str, arguments: tuple[str, ...], hides: bool) -> None:
    """Also where another error hides it."""
    program = INTERRUPT_AT.format(module=module, arguments=["backprop", *arguments], hides=hides)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "backprop: interrupted")
    assert "Traceback" not in done.stdout


def test_what_is_imported_before_ctrl_c_is_heeded() -> None:
    """Only what the interpreter itself needs: a Ctrl-C that falls into it ends in a traceback."""
    program = "import sys; before = set(sys.modules); import bench.cli.main; print(sorted(set(sys.modules) - before))"
    out = subprocess.check_output([sys.executable, "-S", "-c", program], cwd=ROOT, text=True)
    assert out == "['bench', 'bench.cli', 'bench.cli.main']\n"


# --- Results -----------------------------------------------------------------------------------------------------


def test_compare_and_plot_take_the_latest_run(
    backprop: Backprop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/latest.json").write_text(json.dumps({Results.KEY: to_builtins(made_up_results())}))
    status, out, err = backprop("compare", "--between=batched_2d,in_place")
    assert (status, out, err) == (0, "book: in_place is 1.25 times as fast as batched_2d (1.25 to 1.25)\n", "")
    named = backprop("compare", "results/latest.json", "--between=batched_2d,in_place")
    assert named == (status, out, err)
    status, out, _ = backprop("plot")
    assert status == 0
    drawn = sorted(path.name for path in Path("results").iterdir() if path.suffix != ".json")
    assert drawn == ["peak.png", "speedups.png"]
    assert out.splitlines() == [f"plot: results/{name}.png" for name in ("speedups", "peak")]
    status, _, err = backprop("compare", "--between=in_place,no_row")
    assert status == 2
    expected = "expected two of those that were timed: per_example, control, batched_2d, in_place"
    assert f"no workload has both 'in_place' and 'no_row'; {expected}" in err


def compared(backprop: Backprop, results: Results, path: Path, *rows: str) -> list[str]:
    """Return what `backprop compare` says of two rows of made-up results."""
    path.write_text(json.dumps({Results.KEY: to_builtins(results)}))
    status, out, err = backprop("compare", path, f"--between={','.join(rows)}")
    assert (status, err) == (0, "")
    return out.splitlines()


def test_compare_says_that_one_process_gives_no_interval(backprop: Backprop, tmp_path: Path) -> None:
    results, path = made_up_results(), tmp_path / "results.json"
    for row in results.rows:
        row.processes = row.processes[:1]
    (line,) = compared(backprop, results, path, "batched_2d", "in_place")
    assert line == "book: in_place is 1.25 times as fast as batched_2d; one process gives no interval"


def test_compare_agrees_with_the_table_on_a_baseline_that_was_lost_late(backprop: Backprop, tmp_path: Path) -> None:
    results, path = made_up_results(), tmp_path / "results.json"
    baseline = results.rows[0]
    baseline.outcome, baseline.seconds = Outcome.CRASHED, None
    del baseline.processes[3:]
    path.write_text(json.dumps({Results.KEY: to_builtins(results)}))
    said = "book: in_place is 10.0 times as fast as per_example (10.0 to 10.0)\n"
    assert backprop("compare", path, "--between=per_example,in_place") == (0, said, "")
    baseline.outcome = Outcome.INCORRECT_AFTER_TIMING
    path.write_text(json.dumps({Results.KEY: to_builtins(results)}))
    status, _, err = backprop("compare", path, "--between=per_example,in_place")
    assert status == 2
    assert "no workload has both 'per_example' and 'in_place'" in err


def test_train_draws_two_versions_under_their_labels(backprop: Backprop, tmp_path: Path) -> None:
    rows = ("--impl", "old=in_place", "--impl", "new=batched_2d")
    status, out, err = backprop("train", "--data", "digits", "--epochs", 1, *rows, "--plot", tmp_path / "curves.svg")
    assert status == 0, err
    assert [line for line in out.splitlines() if line.endswith(":")] == ["old:", "new:"]
    assert {"old", "new"} <= set(re.findall(r">(old|new)\b", (tmp_path / "curves.svg").read_text()))


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("", "re"), {"report"}),
        (("verify", "rust_b"), {"rust_batched", "rust_batched_blas", "rust_batched_gemm"}),
        (("train", "--impl", "numb"), {"numba"}),
        (("verify", "./mi"), {"./mi"}),
        (("verify", "--ex"), {"--examples"}),
    ],
)
def test_the_shell_completes_commands_options_and_implementations(words: tuple[str, ...], completed: set[str]) -> None:
    typed = ["backprop", *filter(None, words)]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['backprop']; from bench.cli.main import main; main()"],
        env={"COMP_WORDS": " ".join(typed), "COMP_CWORD": str(len(typed) - 1), "_BACKPROP_COMPLETE": "bash_complete"},
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completed, done.stderr
