"""What a newcomer, a user of pytest and a teacher meet in the first hour."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from processes import outside_of_make

from bench.report.table import NOTES

ROOT = Path(__file__).parent.parent
BACKPROP = Path(sys.executable).with_name("backprop")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FAULTY = ROOT / "tests" / "faulty_rows.py"
QUICK = ("--workload=20-8-4:4", "--generations=2", "--seconds=0.2", "--data=digits")


def bench(folder: Path, *options: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run `backprop bench` on a small workload."""
    return subprocess.run(
        [BACKPROP, "bench", *QUICK, f"--results={folder}", *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# --- What a run prints -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """Return a finished run with a wrong row and with options that have no effect, and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    options = ("--impl=in_place", f"--impl={FAULTY}:Wrong", "--benchmark-min-rounds=5", "--benchmark-disable-gc")
    storage = ("--benchmark-autosave", f"--benchmark-storage={folder / 'storage'}")
    return bench(folder, *options, *storage, "--generations=4"), folder


@pytest.mark.slow("runs benchmarks")
def test_the_summary_of_a_run_is_short_and_fits_80_columns(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, folder = finished
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines if str(folder) not in line) <= 80
    notes = [line for line in lines if line.startswith("note: ")]
    assert len([note for note in notes if "--benchmark-" not in note]) <= NOTES  # besides the one about these options
    assert len(lines) < 30 + 3 * (NOTES + 1)  # a note takes up to three
    assert "times as fast as per_example" in " ".join(done.stdout.split())
    assert "s left" in done.stdout
    assert "test session starts" not in done.stdout
    assert "Legend:" not in done.stdout  # of pytest-benchmark's table
    assert "\x1b[" not in done.stdout  # no colours in a pipe


def test_a_wrong_row_fails_once_and_is_told_in_a_line(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, _ = finished
    assert done.returncode == 1
    assert "1 failed" in done.stdout.splitlines()[-1]
    assert "error" not in done.stdout.splitlines()[-1]
    assert "not used" not in done.stdout + done.stderr
    assert done.stdout.count("Wrong: wrong: ") == 1
    assert "pytest_benchmark/" not in done.stdout


def test_options_without_effect_are_named(finished: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    done, _ = finished
    assert "note: --benchmark-disable-gc, --benchmark-min-rounds: no effect here" in " ".join(done.stdout.split())


def test_a_csv_of_pytest_benchmark_has_the_names(
    finished: tuple["subprocess.CompletedProcess[str]", Path], tmp_path: Path
) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("pytest-benchmark")
    table = tmp_path / "table.csv"
    command = [str(program), f"--storage={folder / 'storage'}", "compare", f"--csv={table}"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert "UNSERIALIZABLE" not in table.read_text()
    assert ",in_place," in table.read_text()


@pytest.mark.slow("runs benchmarks")
def test_a_regression_ends_with_our_tables_and_status_1(
    finished: tuple["subprocess.CompletedProcess[str]", Path], tmp_path: Path
) -> None:
    """The minimum of some row rises in nearly every run; in one of three, then."""
    _, folder = finished
    failing = ("--benchmark-compare", "--benchmark-compare-fail=min:0%")
    for attempt in range(3):
        output = tmp_path / str(attempt)
        done = bench(output, "--impl=in_place", *failing, f"--benchmark-storage={folder / 'storage'}")
        if done.returncode:
            break
    assert done.returncode == 1
    assert "error: --benchmark-compare-fail: " in done.stdout
    assert "times as fast as per_example" in " ".join(done.stdout.split())
    assert "results.json" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow("runs benchmarks")
def test_more_workloads_share_one_table_and_details_are_there_when_asked_for(tmp_path: Path) -> None:
    more = [f"--workload=20-8-4:{batch_size}" for batch_size in (1, 2, 3)]
    options = ("--impl=in_place", f"--impl={FAULTY}:Raises", *more, "--generations=1")
    done = bench(tmp_path, *options)
    lines = [line for line in done.stdout.splitlines() if line.startswith("in_place ")]
    assert len([line for line in lines if " is the fastest " not in line]) == 1
    said = " ".join(done.stdout.split())
    assert "note: 20-8-4:4, Raises: crashed: RuntimeError: the tensor was not there (faulty_rows.py:" in said
    assert said.count("the tensor was not there") == 1
    assert "Traceback" not in said
    done = bench(tmp_path, *options, "-v")
    assert "Legend:" in done.stdout
    assert "peak MB" in done.stdout
    assert f'Traceback (most recent call last):\n  File "{FAULTY}", line ' in done.stdout
    assert "Traceback" not in (tmp_path / "results.json").read_text()


@pytest.mark.alone
@pytest.mark.slow("runs benchmarks")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known of other processes")
def test_other_processes_that_use_the_cpus_are_told(tmp_path: Path) -> None:
    busy = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(busy) as first, subprocess.Popen(busy) as second:
        try:
            done = bench(tmp_path, "--impl=in_place", "--seconds=1")
        finally:
            first.kill()
            second.kill()
    assert done.returncode == 0
    assert "CPUs busy during the run; calls take longer then, and rows may be left out" in " ".join(done.stdout.split())


# --- pytest-benchmark's options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--benchmark-only", "--benchmark-skip"), "--benchmark-only and --benchmark-skip exclude each other"),
        (("--benchmark-histogram",), "--benchmark-histogram needs pygal: "),
    ],
)
def test_options_that_cannot_act_are_refused_at_once(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    done = bench(tmp_path / "results", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results" / "results.json").exists()


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("places", [("tests/test_workloads.py", "bench"), ("bench", "tests/test_workloads.py")])
def test_beside_other_tests_nothing_is_timed_unasked(tmp_path: Path, places: tuple[str, ...]) -> None:
    selected = (
        "-k",
        "operations or book-in_place",
        "--generations=1",
        "--seconds=0.1",
        f"--results={tmp_path / 'out'}",
    )
    command = [sys.executable, "-m", "pytest", *places, *selected, "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "nothing was timed: rows are not timed beside other tests; to time them: pytest bench/" in done.stdout
    assert not (tmp_path / "out").exists()
    command.append("--benchmark-only")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed, 1 skipped" in done.stdout  # the row, its baseline and its control; the test
    assert (tmp_path / "out" / "results.json").exists()


@pytest.mark.slow("runs benchmarks")
def test_tests_side_by_side_are_checked_and_not_timed(tmp_path: Path) -> None:
    """With pytest-xdist pytest-benchmark times nothing, and neither do we: the rows would disturb each other."""
    command = [sys.executable, "-m", "pytest", "bench/", "-n", "2", *QUICK, "--impl=in_place", f"--impl={FAULTY}:Wrong"]
    done = subprocess.run(
        [*command, f"--results={tmp_path / 'results'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    assert "1 failed, 3 passed" in done.stdout
    assert "nothing was timed: pytest-xdist runs tests side by side, which disturbs rows; add -n0" in done.stdout
    assert not (tmp_path / "results").exists()


def test_what_cannot_be_timed_side_by_side_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-n auto")
    done = bench(tmp_path / "results", "--impl=in_place")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ERROR: nothing can be timed: pytest-xdist runs tests side by side, which disturbs rows;")
    assert line.endswith("add -n0 (PYTEST_ADDOPTS may hold another -n)")
    done = bench(tmp_path / "results", "--impl=in_place", "-n0", "--co")
    assert done.returncode == 0, done.stderr


# --- Interrupted, killed -----------------------------------------------------------------------------------------


@pytest.mark.slow("runs benchmarks")
def test_an_interrupt_at_the_very_end_keeps_the_results(tmp_path: Path) -> None:
    command = [str(BACKPROP), "bench", *QUICK, "--impl=in_place", f"--results={tmp_path}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while "[100%]" not in (line := process.stdout.readline()):
            assert line
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert (tmp_path / "results.json").stat().st_size > 0


@pytest.mark.slow("runs benchmarks")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the examples are files")
def test_a_killed_run_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    command = [str(BACKPROP), "bench", *QUICK, "--seconds=20", "--impl=in_place", f"--results={tmp_path / 'results'}"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert "generation 1" in process.stdout.readline()
        time.sleep(1.5)
        process.kill()
    assert list(temporary.iterdir()) == []


# --- Set-up ------------------------------------------------------------------------------------------------------


def fake_python(folder: Path, version: str, venv: bool = True, pip: bool = True) -> Path:
    """Make a `python3` of another version, or without the module venv or pip."""
    real = sys.executable
    major, minor = version.split(".")
    path = folder / "python3"
    path.write_text(
        f"#!/bin/sh\n"
        f'case "$*" in\n'
        f'*"%d.%d"*) echo {version};;\n'
        f"*version_info*) exit {int((int(major), int(minor)) < (3, 11))};;\n"
        + ("" if venv else '*venv*) echo "No module named venv" >&2; exit 1;;\n')
        + f'*"import pip"*) exit {int(not pip)};;\n'
        f'*) exec {real} "$@";;\n'
        f"esac\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder, with a blank in its name, that holds what make needs."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(folder: Path, *arguments: str, path: str = "") -> "subprocess.CompletedProcess[str]":
    environment = outside_of_make() | {"PATH": path or os.environ["PATH"]}
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_refuses_an_old_python_at_once(checkout: Path, tmp_path: Path) -> None:
    python = fake_python(tmp_path, "3.10")
    start = time.monotonic()
    done = make(checkout, "test", f"PYTHON={python}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "make PYTHON=python3.13" in done.stderr
    assert time.monotonic() - start < 10
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_says_that_the_module_venv_is_missing(checkout: Path, tmp_path: Path) -> None:
    done = make(checkout, "test", f"PYTHON={fake_python(tmp_path, '3.11', venv=False)}", "UV=")
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_says_that_there_is_no_such_python(checkout: Path) -> None:
    done = make(checkout, "test", "PYTHON=python3.99")
    assert done.returncode != 0
    assert "there is no python3.99" in done.stderr


def environment_of(checkout: Path, version: str, **options: bool) -> Path:
    """Put an environment of a fake Python into a checkout; return that Python."""
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    return fake_python(programs, version, **options).rename(programs / "python")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("target", [f".venv/installed-{VERSION}", "rust"])
def test_make_says_that_an_environment_has_no_pip(checkout: Path, target: str) -> None:
    """As one that uv made before, when uv is no longer there."""
    python = environment_of(checkout, VERSION, pip=False)
    if target == "rust":
        (checkout / ".venv" / f"installed-{VERSION}").touch()
    done = make(checkout, target, "UV=")
    words = "make: no pip in .venv and no uv on PATH; put uv there, or run: .venv/bin/python -m ensurepip"
    assert done.stderr.splitlines()[0] == words
    assert done.returncode != 0
    assert python.exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("handed_down", [None, "PYTHON=python3.99"])
def test_make_keeps_an_environment_of_another_python(
    checkout: Path, handed_down: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by `make PYTHON=…`; a plain `make` after it once removed it, with all that was installed in it.

    Whether the tests run by themselves or by a make that hands its variables down.
    """
    if handed_down:
        monkeypatch.setenv("MAKEFLAGS", f" -- {handed_down}")
        monkeypatch.setenv(*handed_down.split("="))
    python = environment_of(checkout, "3.14")
    before = python.read_text()
    done = make(checkout, "figures", "UV=", "PIP=echo PIP")
    assert "PIP --editable .[dev]" in done.stdout, done.stderr
    assert python.read_text() == before
    assert (checkout / ".venv" / "installed-3.14").exists()


@pytest.mark.slow("runs benchmarks")
@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_works_in_a_path_with_blanks_and_rebuilds_a_stale_environment(checkout: Path) -> None:
    stale = checkout / ".venv" / "bin" / "python"
    stale.parent.mkdir(parents=True)
    stale.write_text("#!/bin/sh\nexit 1\n")
    stale.chmod(0o755)
    # without dependencies, so that the test needs no network: what pip is asked for is seen
    done = make(checkout, "figures", f"PYTHON={sys.executable}", "UV=", "PIP=echo PIP")
    assert "PIP --editable .[dev]" in done.stdout, done.stderr
    assert stale.resolve() != stale or stale.read_bytes()[:2] != b"#!"
    assert (checkout / ".venv" / f"installed-{VERSION}").exists()


# --- Packaging ---------------------------------------------------------------------------------------------------


def test_types_are_published() -> None:
    assert (ROOT / "impls" / "py.typed").is_file()


@pytest.mark.slow("runs benchmarks")
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_sdist_and_wheel_hold_what_is_tracked(tmp_path: Path) -> None:
    """The sdist is a checkout; the wheel has the packages, and what they read beside them."""
    tracked = set(subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines())
    copy = tmp_path / "copy"
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    program = "from setuptools.build_meta import *; build_sdist('dist'); build_wheel('dist')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=copy, capture_output=True, check=True)
    with tarfile.open(next((copy / "dist").glob("*.tar.gz"))) as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked - sdist == {".gitignore"}
    with zipfile.ZipFile(next((copy / "dist").glob("*.whl"))) as archive:
        wheel = set(archive.namelist())
    modules = {name for name in tracked if name.endswith(".py") and not name.startswith("tests/")}
    assert {*modules, "impls/py.typed", "profiles/flamegraph.js", "profiles/flamegraph.svg.jinja"} <= wheel
    assert not {name for name in wheel if name.startswith(("tests/", "results/"))}


def test_an_installed_copy_refuses_in_one_line(tmp_path: Path) -> None:
    for package in ("bench", "impls", "profiles"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("rust", "__pycache__"))
    (tmp_path / "bench.py").write_text("raise SystemExit('own')")  # of the user
    program = "from bench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "list"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "used from a checkout" in done.stderr
    assert done.stderr.count("\n") == 1
