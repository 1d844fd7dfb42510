"""Recordings and their files, the command `backprop profile` with a stand-in for py-spy and with py-spy itself."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import psutil
import pytest
from conftest import Backprop
from required import skip
from test_flamegraph import GEMM, LOOP, RECORDINGS, SAMPLE, STEP, recording

from impls import ROOT
from impls.registry import ENTRIES
from impls.support.errors import UserError
from impls.support.needs import pip_command
from profiles import flamegraph
from profiles.recorder import unseen
from profiles.recording import read
from profiles.stacks import shares, wilson

BACKPROP = str(Path(sys.executable).with_name("backprop"))
README = RECORDINGS.parent / "README.md"
README_PICTURES = re.findall(r"\]\((recordings/[^)]*)\)", README.read_text(encoding="utf-8"))

# --- recordings --------------------------------------------------------------------------------------------------


def test_a_good_recording_needs_no_notes() -> None:
    assert recording().notes() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stacks": Counter({(STEP,): 999})}, "Only 999 samples"),
        ({"outside": 53}, "Only 95.0 % of the samples were within the implementation"),
        ({"waiting": 500}, "Skipped: 500 samples of threads that only waited"),
        ({"native": False}, "what C, BLAS and Rust do counts as the Python line that called them"),
        ({"behind_seconds": 1.4}, "py-spy was 1.4 s behind"),
        ({"steps_per_second": 500.0}, "slowed the implementation to 50 % of its speed"),
        ({"unseen": "BLAS's other threads"}, "Not in the picture: BLAS's other threads."),
    ],
)
def test_what_makes_a_recording_doubtful_is_said(changes: dict[str, object], words: str) -> None:
    assert words in " ".join(recording(**changes).notes())  # type: ignore[arg-type]


def test_each_implementation_says_what_cannot_be_seen_of_it() -> None:
    assert (unseen(ENTRIES["in_place"], 1), unseen(ENTRIES["jax_cuda"], 1)) == ("", "the GPU, which computes")
    assert re.fullmatch("names of Numba's .*; threads that do not run Python .*", unseen(ENTRIES["numba"], 2))


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "in_place.raw.txt"
    path.write_text(recording().raw(), encoding="utf-8")
    assert read(path) == recording()


def test_speedscope_holds_the_same_samples() -> None:
    document = json.loads(recording().speedscope())
    (profile,) = document["profiles"]
    names = [frame["name"] for frame in document["shared"]["frames"]]
    stacks = [tuple(names[index] for index in stack) for stack in profile["samples"]]
    assert dict(zip(stacks, profile["weights"], strict=True)) == SAMPLE


HEADER = recording().raw().partition("\n")[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("main;f (a.py:3) 12\n", "not a recording of backprop profile, but collapsed stacks without a first line"),
        ("", "not a recording: "),
        (f"{HEADER.replace('200', '1.5')}\na;b 3\n", r"not a recording: .*\$\.rate"),
        (f"{HEADER}\nf 3.5\n", "not a recording: .* line 2: expected collapsed stacks"),
        (f"{HEADER}\nf 0\n", "not a recording: it has no samples"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "foreign.raw.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=rf"foreign\.raw\.txt: {words}"):
        read(path)


def test_committed_recordings_are_small_and_pictures_are_drawn_from_them() -> None:
    assert README_PICTURES
    for picture in README_PICTURES:
        assert (README.parent / picture).exists()
    for path in RECORDINGS.glob("*.svg"):
        drawn = flamegraph.draw(read(path.with_suffix(".raw.txt")))
        assert path.read_text(encoding="utf-8") == drawn
    assert sum(path.stat().st_size for path in RECORDINGS.iterdir()) < 1_200_000


# --- the command, drawing from recordings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "names"),
    [("flamegraph", ["before.svg"]), ("raw", []), ("speedscope", ["before.speedscope.json"])],
)
def test_files_lie_beside_their_recording_which_stays_as_it_is(
    backprop: Backprop, tmp_path: Path, form: str, names: list[str]
) -> None:
    path = tmp_path / "before.raw.txt"
    text = recording().raw() + "\n"  # not byte by byte what would be written
    path.write_text(text, encoding="utf-8")
    status, _, _ = backprop("profile", path, f"--format={form}")
    assert status == 0
    assert path.read_text(encoding="utf-8") == text
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, *names])


@pytest.mark.parametrize("evil", ["../../evil", "x" * 200_000, "\x00\n\x1b[2J"])
def test_names_inside_a_recording_lead_to_no_other_folder(backprop: Backprop, tmp_path: Path, evil: str) -> None:
    path = tmp_path / "in" / "a.raw.txt"
    path.parent.mkdir()
    path.write_text(recording(row=evil, workload=evil, unseen=evil).raw(), encoding="utf-8")
    out = tmp_path / "deep" / "er" / "out"
    for arguments in (["diff", path, path], [path, path]):
        status, text, _ = backprop("profile", *arguments, "--out", out)
        assert status == 0
        assert "\x1b" not in text
    written = {file for file in tmp_path.rglob("*") if file.is_file()} - {path}
    assert {file.parent for file in written} == {out}
    assert {"a.svg", "a.diff.svg"} <= {file.name for file in written}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("in_place", "--seconds", "0"), "0 is not in the range"),
        (("in_plac",), "did you mean in_place?"),
        (("in_place", "nosuch.raw.txt"), "nosuch.raw.txt: cannot be read"),
        (("diff", "in_place"), "expected two implementations or recordings, found 1"),
        ((ROOT / "results/reference/default/results.json",), "but a run of backprop bench: backprop report shows"),
        (("in_place", "--out", README), "cannot be written"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_recorded(
    backprop: Backprop, arguments: tuple[object, ...], words: str
) -> None:
    with mock.patch("bench.cli.profile.record", side_effect=AssertionError("recorded")):
        status, _, errors = backprop("profile", *arguments)
    assert (status, errors.count("\n")) == (2, 1)
    assert words in errors


# --- the command, with a stand-in for py-spy ---------------------------------------------------------------------


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a program that is run instead of py-spy; `out` is where the stacks go, `pid` the process."""
    path = tmp_path / "py-spy"
    path.touch(0o755)
    monkeypatch.setenv("BACKPROP_PY_SPY", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def write_stand_in(path: Path, body: str) -> None:
    head = (
        f"#!{sys.executable}\nimport os, signal, sys, time\n"
        "out = sys.argv[sys.argv.index('--output') + 1]\npid = int(sys.argv[sys.argv.index('--pid') + 1])\n"
    )
    path.write_text(head + textwrap.dedent(body), encoding="utf-8")


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "profiles").glob("*.svg"))


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        ("Permission Denied: Try running again with elevated permissions by going 'sudo env'", 3, "run it with sudo"),
        ("Error: Failed to get process executable name\\nReason: Permission denied (os error 13)", 3, "CAP_SYS_PTRACE"),
        ("--native is not supported on your platform", 3, "add --no-native"),
        ("Error: No stack counts found", 1, "py-spy took no sample; record for longer"),
        ("Error: no frames\\n3: py_spy::python_spy::PythonSpy::retry_new", 1, "cannot walk the stacks"),
        ("thread panicked", 1, "py-spy ended with exit status 1: thread panicked"),
    ],
)
def test_why_py_spy_failed_is_told_in_one_line(
    backprop: Backprop, tmp_path: Path, stand_in: Path, message: str, status: int, words: str
) -> None:
    write_stand_in(stand_in, f"print('{message}')\nsys.exit(1)")
    actual_status, _, errors = backprop("profile", "in_place", "--seconds=1")
    assert (actual_status, errors.count("\n")) == (status, 1)
    assert errors.startswith("in_place: skipped: " if status == 3 else "in_place: failed: ")
    assert words in errors
    assert list((tmp_path / "profiles").iterdir()) == []


def test_a_missing_py_spy(backprop: Backprop, stand_in: Path) -> None:
    stand_in.unlink()
    status, _, errors = backprop("profile", "in_place")
    assert status == 3
    assert pip_command("py-spy") in errors


def test_samples_of_something_else_leave_no_picture(backprop: Backprop, tmp_path: Path, stand_in: Path) -> None:
    write_stand_in(stand_in, "open(out, 'w').write('main (other.py:1) 500\\n')")
    status, _, errors = backprop("profile", "in_place", "--seconds=1")
    assert status == 1
    assert "no sample was within the implementation, 500 were of the loop around it" in errors
    assert pictures(tmp_path) == []


def test_a_worker_that_dies_under_the_profiler_costs_only_its_own_recording(
    backprop: Backprop, tmp_path: Path, stand_in: Path
) -> None:
    body = f"""
        if not os.path.exists("once"):
            open("once", "w").close()
            os.kill(pid, signal.SIGKILL)
            time.sleep(1)
            sys.exit(1)
        print("py-spy> 2.51s behind in sampling, results may be inaccurate. Try reducing the sampling rate")
        open(out, "w").write({f"{LOOP};Batched2D.step (impls/batched_2d.py:1) 1200"!r} + "\\n")
    """
    write_stand_in(stand_in, body)
    status, text, errors = backprop("profile", "in_place", "batched_2d", "--seconds=1")
    assert status == 1
    assert "in_place: crashed: the worker ended with SIGKILL" in errors
    assert "py-spy was 2.5 s behind" in text
    assert pictures(tmp_path) == ["batched_2d.book.1.svg"]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("names", "status"), [(("in_place",), 1), ((), 0)])
def test_an_implementation_too_slow_to_record_is_a_failure_only_if_named(
    backprop: Backprop, names: tuple[str, ...], status: int
) -> None:
    with (
        mock.patch("profiles.recorder.BUDGET_SECONDS", 1e-9),
        mock.patch("bench.cli.profile.entries", return_value={"in_place": ENTRIES["in_place"]}),
    ):
        actual_status, _, errors = backprop("profile", *names)
    assert actual_status == status
    assert re.fullmatch(
        r"in_place: skipped \(too slow\): at least \S+ s per call, over the budget of 1e-09 s\n", errors
    )


def test_two_implementations_are_recorded_and_compared(backprop: Backprop, tmp_path: Path, stand_in: Path) -> None:
    """The stand-in finds the first half in BLAS and the second all in Python."""
    body = f"""
        stacks = [{f"{LOOP};{STEP};{GEMM} 600"!r}, {f"{LOOP};{STEP} 600"!r}]
        open(out, "w").write("\\n".join(stacks[os.path.exists("once"):] + [""]))
        open("once", "w").close()
    """
    write_stand_in(stand_in, body)
    status, text, errors = backprop("profile", "diff", "in_place", "batched_2d", "--seconds=1")
    assert status == 0, errors
    assert re.search(r"BLAS +50 ± 3 +0 +-50.0 +-52.8 to -47.1", text)
    assert re.search(r"Python +50 ± 3 +100 ± 1 +\+50.0 +", text)
    assert "no differential flamegraph" in text
    assert pictures(tmp_path) == ["batched_2d.book.1.svg", "in_place.book.1.svg"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow("records an implementation")
def test_ctrl_c_leaves_nothing_running_and_no_half_file(tmp_path: Path, stand_in: Path) -> None:
    marker = tmp_path / "pid"
    write_stand_in(stand_in, "open('pid', 'w').write(f'{pid} {os.getpid()}')\ntime.sleep(60)")
    process = subprocess.Popen([BACKPROP, "profile", "in_place"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: marker.exists() and " " in marker.read_text())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not [pid for pid in marker.read_text().split() if psutil.pid_exists(int(pid))]
    assert list((tmp_path / "profiles").iterdir()) == []


# --- the target for other profilers ------------------------------------------------------------------------------


def test_the_target_prints_the_process_to_attach_to_and_ends_with_it() -> None:
    command = [sys.executable, "-m", "profiles.target", "in_place"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as target:
        assert target.stdout is not None
        pid = int(target.stdout.readline())
        assert pid != target.pid
        assert psutil.pid_exists(pid)
        target.send_signal(signal.SIGTERM)
    assert target.returncode == 130
    assert not psutil.pid_exists(pid)


def test_a_target_that_cannot_start_says_why() -> None:
    command = [sys.executable, "-m", "profiles.target", "in_plac"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did you mean in_place?" in done.stderr


# --- real py-spy -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with real recordings; skip where profiling is not permitted."""
    folder = tmp_path_factory.mktemp("recorded")
    command = [BACKPROP, "profile", "pure_python", "batched_3d", "in_place", "--seconds=2", "--rate=250"]
    done = subprocess.run([*command, f"--out={folder}"], check=False, capture_output=True, text=True)
    if done.returncode == 3:
        skip("profile", done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow("records implementations")
def test_real_recordings_hold_the_step_and_nothing_else(recorded: Path) -> None:
    shares_by_name = {}
    for path in recorded.glob("*.raw.txt"):
        real = read(path)
        assert wilson(real.outside, real.samples + real.outside).low <= 0.02, path.name
        assert real.samples > 200
        text = path.read_text(encoding="utf-8")
        for foreign in ("worker.py", "timing.py", "importlib", "0x7f", str(Path.home()), str(recorded)):
            assert foreign not in text, path.name
        shares_by_name[real.row] = shares(real.stacks)
    assert shares_by_name["pure_python"]["Python"].value > 0.8
    assert shares_by_name["in_place"]["BLAS"].value > shares_by_name["pure_python"]["BLAS"].value
    assert shares_by_name["batched_3d"]["NumPy C"].value > 0.4
    assert {"in_place.book.1.svg", "shares.book.png"} <= {path.name for path in recorded.iterdir()}


@pytest.mark.slow("records an implementation")
@pytest.mark.usefixtures("recorded")
def test_the_recipe_of_the_readme_works_as_written(tmp_path: Path) -> None:
    """Start the target, attach plain py-spy to the process that it names, end it; only the duration is shortened."""
    (recipe,) = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert "--duration 6" in recipe
    script = recipe.replace("--duration 6", "--duration 1") + "\necho target: $pid"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    assert "InPlace.step" in (tmp_path / "in_place.svg").read_text(encoding="utf-8")
    pid = int(done.stdout.partition("target: ")[2])
    wait_for(lambda: not psutil.pid_exists(pid))
