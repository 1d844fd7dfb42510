"""The registry: what listing costs, how rows are found and loaded, and what it says when they are not."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import impls
from impls.interface import Implementation

HEAVY = {"scipy", "sklearn", "threadpoolctl", "torch", "numba", "jax", "tensorflow", "mpi4py", "matplotlib", "rich"}

ROW = """
from dataclasses import dataclass
from impls.interface import Implementation

@dataclass
class Setting:
    number: int = 3

class Mine(Implementation):
    def gradients(self, batch):
        raise NotImplementedError

class Unfinished(Implementation):
    pass

Other = Setting
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(ROW)
    return path


def add_entry_points(monkeypatch: pytest.MonkeyPatch, entries: Sequence[tuple[str, str]]) -> None:
    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in entries]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_listing_imports_nothing_heavy() -> None:
    """Neither a row nor any library but NumPy, which the contract itself needs."""
    program = (
        "import sys, json, impls; rows = impls.rows(); [row.unavailable() for row in rows.values()]; "
        "print(json.dumps([list(rows), sorted(sys.modules)]))"
    )
    listed, modules = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    assert listed[:6] == ["pure_python", "per_example", "batched_3d", "batched_2d", "in_place", "multithreaded"]
    assert {module.split(".")[0] for module in modules} & HEAVY == set()
    assert {module for module in modules if module.startswith("impls.")} == {"impls.interface"}


@pytest.mark.parametrize("name", [row.name for row in impls.ROWS.values() if row.unavailable() is None])
def test_rows_load_as_implementations(name: str) -> None:
    cls = impls.load(name)
    assert issubclass(cls, Implementation)
    assert f"{cls.__module__}:{cls.__name__}" == impls.ROWS[name].target


def test_names_and_baseline_agree_with_the_table() -> None:
    assert impls.BASELINE in impls.ROWS
    assert all(name == row.name and row.summary for name, row in impls.ROWS.items())
    assert all(row.install for row in impls.ROWS.values() if row.requires)


@pytest.mark.parametrize(("typed", "meant"), [("per_exmaple", "per_example"), ("inplace", "in_place")])
def test_unknown_name_suggests_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(impls.RowError, match=f"unknown implementation '{typed}'; did you mean {meant}"):
        impls.load(typed)


def test_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(impls.RowError, match=r"known: pure_python, per_example, .*path/to/file\.py:Class"):
        impls.find("zzz")


def test_row_by_path(mine: Path) -> None:
    row = impls.find(f"{mine}:Mine")
    assert (row.name, row.summary) == ("Mine", f"from {mine}")
    assert impls.load(f"{mine}:Mine").__name__ == "Mine"


def test_row_by_relative_path(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    assert issubclass(impls.load("mine.py:Mine"), Implementation)


def test_path_of_a_known_module_does_not_replace_it(mine: Path) -> None:
    path = mine.rename(mine.with_name("json.py"))
    assert impls.load(f"{path}:Mine").__name__ == "Mine"
    assert sys.modules["json"] is json


def test_two_files_of_one_name_are_two_rows(mine: Path) -> None:
    other = mine.parent / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(ROW.replace("Mine", "Yours"))
    first, second = impls.load(f"{mine}:Mine"), impls.load(f"{other}:Yours")
    assert sys.modules[first.__module__] is not sys.modules[second.__module__]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(impls.RowError, match=r"there is no file .*absent\.py"):
        impls.find(f"{tmp_path}/absent.py:Mine")


@pytest.mark.parametrize("name", ["Absent", "Other"])
def test_path_without_an_implementation(mine: Path, name: str) -> None:
    with pytest.raises(impls.RowError, match=r"expected a subclass of impls\.interface\.Implementation, found"):
        impls.load(f"{mine}:{name}")


def test_unfinished_class_is_told_what_is_missing(mine: Path) -> None:
    with pytest.raises(impls.RowError, match="Unfinished does not define gradients"):
        impls.load(f"{mine}:Unfinished")


def test_class_named_like_a_row_is_a_duplicate(mine: Path) -> None:
    with pytest.raises(impls.RowError, match="an implementation is already called 'per_example'; rename"):
        impls.find(f"{mine}:per_example")


def test_missing_dependency_makes_a_row_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = impls.Row("ghost", "impls.ghost:Ghost", "not there", ("no_such_module",), "pip install no-such-thing")
    monkeypatch.setitem(impls.ROWS, "ghost", ghost)
    assert impls.rows()["ghost"].unavailable() == "needs no_such_module: pip install no-such-thing"
    with pytest.raises(impls.Unavailable, match="ghost is unavailable: it needs no_such_module: pip install no-such"):
        impls.load("ghost")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module", ModuleNotFoundError),
        ("from json import no_such_function", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("class :", SyntaxError),
    ],
)
def test_other_errors_of_a_row_propagate(tmp_path: Path, source: str, error: type[Exception]) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(error):
        impls.load(f"{path}:Broken")
    assert not [name for name in sys.modules if "broken" in name and not name.startswith("torch.")]


def test_entry_point_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry_points(monkeypatch, [("theirs", "impls.batched_2d:Batched2D")])
    assert list(impls.rows()) == [*impls.ROWS, "theirs"]
    assert impls.rows()["theirs"].summary.startswith("entry point of ")
    assert impls.load("theirs").__name__ == "Batched2D"


@pytest.mark.parametrize("names", [["in_place"], ["theirs", "theirs"]], ids=["ours", "theirs"])
def test_entry_point_with_a_name_that_is_taken(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    add_entry_points(monkeypatch, [(name, "somewhere:Thing") for name in names])
    with pytest.raises(impls.RowError, match=f"two implementations are called '{names[0]}': .* somewhere:Thing"):
        impls.rows()


def test_entry_point_that_cannot_be_imported_propagates(monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry_points(monkeypatch, [("theirs", "no_such_module:Thing")])
    assert "theirs" in impls.rows()
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        impls.load("theirs")
