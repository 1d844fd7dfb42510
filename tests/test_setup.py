"""The set-up: make, the source distribution, the wheel."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from processes import outside_of_make

from impls import ROOT

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def fake_python(folder: Path, version: str, venv: bool = True) -> Path:
    """Make a `python` of another version, or without the module venv."""
    real = sys.executable
    major, minor = version.split(".")
    path = folder / "python"
    path.write_text(
        f"#!/bin/sh\n"
        f'case "$*" in\n'
        f'*"%d.%d"*) echo {version};;\n'
        f"*version_info*) exit {int((int(major), int(minor)) < (3, 11))};;\n"
        + ("" if venv else '*venv*) echo "No module named venv" >&2; exit 1;;\n')
        + f'*"import pip"*) exit 0;;\n'
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


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, env=outside_of_make(), timeout=60, check=False
    )


@needs_make
@pytest.mark.parametrize(
    ("version", "venv", "words"),
    [("3.10", True, "needs Python 3.11 or newer"), (VERSION, False, "apt install python3-venv")],
)
def test_make_refuses_a_python_that_will_not_do(
    checkout: Path, tmp_path: Path, version: str, venv: bool, words: str
) -> None:
    done = make(checkout, "test", f"PYTHON={fake_python(tmp_path, version, venv=venv)}", "UV=")
    assert done.returncode != 0
    assert words in done.stderr
    assert not (checkout / ".venv").exists()


@needs_make
def test_make_keeps_an_environment_of_another_python(checkout: Path) -> None:
    """Made by `make PYTHON=…`; a plain `make` after it must not remove it, with all that was installed in it."""
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = fake_python(programs, "3.14")
    before = python.read_text()
    done = make(checkout, "figures", "UV=", "PIP=echo PIP")
    assert "PIP --editable .[dev]" in done.stdout, done.stderr
    assert python.read_text() == before
    assert (checkout / ".venv" / "installed-3.14").exists()


@pytest.mark.slow("runs benchmarks")
@needs_make
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
    modules = {name for name in tracked if name.endswith(".py") and not name.startswith(("tests/", "examples/"))}
    assert {*modules, "impls/py.typed", "profiles/flamegraph.js", "profiles/flamegraph.svg.jinja"} <= wheel
    assert not {name for name in wheel if name.startswith(("tests/", "results/"))}


def test_an_installed_copy_refuses_in_one_line(tmp_path: Path) -> None:
    for package in ("bench", "impls", "profiles"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("rust", "__pycache__"))
    (tmp_path / "bench.py").write_text("raise SystemExit('own')")  # of the user
    program = "from bench.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "list"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "used from a checkout" in done.stderr
    assert done.stderr.count("\n") == 1
