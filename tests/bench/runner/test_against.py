"""Rows of another revision beside today's: where they come from, when they are measured once more, what is said."""

import importlib.metadata
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from processes import QUICK, run_backprop
from sampling import SMALL, run

from bench.conditions import Settings
from bench.run import Asked, Run
from bench.runner.candidates import plan
from bench.runner.revision import Before
from impls import ROOT
from impls.registry import ENTRIES, ENTRY_POINTS, find
from impls.support.errors import UserError

MINE = """
from impls.batched_2d import Batched2D

class Mine(Batched2D):
    version = {version}
"""


def git(folder: Path, *arguments: str) -> None:
    environment = os.environ | {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, env=environment)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with a row in two revisions, HEAD~1 and HEAD."""
    folder = tmp_path / "theirs"
    (folder / "src").mkdir(parents=True)
    git(folder, "init", "-q")
    for version in (1, 2):
        (folder / "src" / "mine.py").write_text(MINE.format(version=version))
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", str(version))
    return folder


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Return a folder for what is copied."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


# --- Where the rows come from --------------------------------------------------------------------------------------


def test_a_file_of_a_third_party_comes_from_its_own_repository(repository: Path, copies: Path) -> None:
    mine = find(f"{repository}/src/mine.py:Mine")
    before = Before("HEAD~1", copies)
    (old,) = before.entries([mine])
    assert (old.name, old.implementation) == ("Mine-before", "Mine")
    assert old.load().version == 1  # type: ignore[attr-defined]
    assert mine.load().version == 2  # type: ignore[attr-defined]
    assert Path(old.target.module).is_relative_to(copies)


def test_a_row_of_ours_comes_with_all_of_impls(tmp_path: Path, copies: Path) -> None:
    for path in ("interface.py", "in_place.py", "target/debug/large", "__pycache__/old.pyc"):
        (tmp_path / "impls" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "impls" / path).write_text("")
    before = Before(str(tmp_path), copies)
    in_place, batched = before.entries(map(find, ("in_place", "batched_2d")))
    assert in_place.unavailable() is None
    assert {str(path.relative_to(in_place.tree)) for path in Path(in_place.tree).rglob("*")} == {
        "impls",  # nothing else could be imported from there
        "impls/interface.py",
        "impls/in_place.py",
    }
    assert batched.unavailable() == f"needs impls.batched_2d, which {tmp_path} does not have"


def test_code_in_an_installed_distribution_is_not_compared_with_itself(
    tmp_path: Path, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of ours that are built from Rust, over MPI or not, and those of other packages."""
    (tmp_path / "impls").mkdir()
    (tmp_path / "impls" / "interface.py").write_text("")
    point = importlib.metadata.EntryPoint("theirs", "theirs.module:Theirs", ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])
    names = [name for name in ENTRIES if name.startswith("rust_")] + ["theirs"]
    assert {"rust_fused", "rust_tch", "rust_tensorflow"} <= set(names)
    names += [] if ENTRIES["mpi"].unavailable() else ["mpi-rust_fused"]
    for old in Before(str(tmp_path), copies).entries(map(find, names)):
        assert "of that revision: the installed one would be compared with itself" in str(old.unavailable())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize("order", [1, -1])
def test_rows_by_name_and_by_path_of_this_checkout(copies: Path, order: int) -> None:
    """A file needs its whole repository as it was; a row by name must not get that: its `bench` would be imported."""
    before = Before("HEAD", copies)
    specs = ["in_place", f"{ROOT}/tests/support/slower_in_place.py:SevenSlower"][::order]
    in_place, file = before.entries(map(find, specs))[::order]
    assert (Path(in_place.tree) / "impls" / "in_place.py").is_file()
    assert [path.name for path in Path(in_place.tree).iterdir()] == ["impls"]
    assert Path(file.target.module).is_file()


def test_what_cannot_be_found_is_told(repository: Path, tmp_path: Path, copies: Path) -> None:
    (tmp_path / "empty").mkdir()
    mine = f"{repository}/src/mine.py:Mine"
    lonely = tmp_path / "lonely.py"
    lonely.write_text(MINE.format(version=1))
    for given, spec, words in (
        ("no-such", mine, r"expected a revision of \S+ or a folder, found neither"),
        ("--output=x", mine, r"expected a revision of \S+ or a folder, found neither"),
        (str(tmp_path / "empty"), mine, r"expected mine.py there, found no \S+mine.py"),
        (str(tmp_path / "empty"), "in_place", "expected a folder that holds impls/, found none in it"),
        ("HEAD", f"{lonely}:Mine", r"expected a folder, or \S+ to be in a git repository, found neither"),
    ):
        before = Before(given, copies)
        with pytest.raises(UserError, match=words):
            before.entries([find(spec)])


def test_a_row_that_has_the_name_of_an_earlier_one_is_told(tmp_path: Path) -> None:
    asked = Asked(("in_place", "in_place-before=batched_2d"), workloads=("4-3-2",), folder=tmp_path, against=str(ROOT))
    with pytest.raises(
        UserError, match="two implementations would be called 'in_place-before'; give yours another label"
    ):
        Run(asked)


def test_a_worker_imports_the_other_impls(tmp_path: Path) -> None:
    """And the benchmark of today: a row says where its own module and the interface come from."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "impls", tree / "impls", ignore=shutil.ignore_patterns("target"))
    with (tree / "impls" / "batched_2d.py").open("a") as file:
        file.write(
            "\n\nimport bench, impls.interface\nraise RuntimeError(bench.__file__ + ' ' + impls.interface.__file__)\n"
        )
    entry = replace(find("batched_2d"), name="batched_2d-before", tree=str(tree))
    candidates = plan(SMALL, [entry])
    run({"small": candidates}, Settings(generations=1, workload_seconds=0.1))
    old = candidates[2].row
    assert old.outcome == "crashed"
    assert f"{ROOT / 'bench'}" in old.reason
    assert "tree/impls/interface.py" in old.reason


# --- Runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow("runs benchmarks")
def test_a_row_that_looks_slower_is_measured_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for slower, generations in ((True, 4), (False, 2)):
        monkeypatch.setattr("bench.runner.sampler.look_slower", lambda _rows, slower=slower: slower)
        candidates = plan(SMALL, [find("in_place")])
        run({"small": candidates}, Settings(generations=2, workload_seconds=0.1, min_rounds=2))
        assert len(candidates[2].row.processes) == generations


@pytest.mark.slow("runs benchmarks")
def test_a_run_against_a_folder_prints_the_comparison(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(MINE.format(version=1))
    command = ("bench", "--against=old", "--impl=new/mine.py:Mine", *QUICK, "--generations=2", "--results=out")
    done = run_backprop(*command, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Mine-before" in done.stdout
    assert "1 row: " in done.stdout
    assert run_backprop("compare", "out/results.json", "--fail-on=500%", folder=tmp_path).returncode == 0
