"""The registry: what listing costs, how rows are found and loaded, and what it says when they are not."""

import importlib.metadata
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.records import CONTROL
from bench.runner.candidates import PEAK, REFERENCE
from bench.workloads.names import default_workloads
from impls import ROOT
from impls.interface import Implementation
from impls.registry import ENTRIES, RESERVED, Entry, entries, find, find_all
from impls.support import needs
from impls.support.errors import RowError, Unavailable
from impls.support.loading import Target
from impls.support.needs import Needs

HEAVY = {
    "jax",
    "matplotlib",
    "mpi4py",
    "msgspec",
    "numba",
    "numpy",
    "rich",
    "scipy",
    "sklearn",
    "tensorflow",
    "threadpoolctl",
    "torch",
}

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


@pytest.fixture(autouse=True)
def path_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading by path extends sys.path; no other test is to find anything there."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def add_entry_points(monkeypatch: pytest.MonkeyPatch, points: Sequence[tuple[str, str]]) -> None:
    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in points]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_listing_imports_nothing_heavy() -> None:
    """Neither a row nor any library, not even NumPy."""
    program = (
        "import sys, json; from impls.registry import entries, find; rows = entries(); "
        "[row.unavailable() for row in rows.values()]; find('in_place'); "
        "print(json.dumps([list(rows), sorted(sys.modules)]))"
    )
    listed, modules = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    assert listed[:6] == ["pure_python", "per_example", "batched_3d", "batched_2d", "in_place", "multithreaded"]
    assert {module.split(".")[0] for module in modules} & HEAVY == set()
    assert {module for module in modules if module.startswith("impls.")} == {
        "impls.registry",
        "impls.support.errors",
        "impls.support.loading",
        "impls.support.needs",
        "impls.support.mpiexec",
        "impls.support.text",
    }


@pytest.mark.slow("loads every row")
@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.unavailable() is None])
def test_rows_load_as_implementations(name: str) -> None:
    cls = find(name).load()
    assert issubclass(cls, Implementation)
    assert Target(cls.__module__, cls.__name__) == ENTRIES[name].target


def test_names_and_baseline_agree_with_the_table() -> None:
    assert {workload.baseline for workload in default_workloads().values()} <= ENTRIES.keys()
    assert all(name == entry.name and entry.summary for name, entry in ENTRIES.items())
    assert all(entry.needs.modules and entry.needs.command() for entry in ENTRIES.values() if entry.needs)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("per_exmaple", "unknown implementation 'per_exmaple'; did you mean per_example"),
        ("zzz", r"known: pure_python, per_example, .*path/to/file\.py:Class"),
        ("absent.py:Mine", r"there is no file absent\.py"),
        ("mine.py", r"mine\.py: expected the name of an implementation .* found a file"),
        (
            "mine.py:per_example",
            r"an implementation is already called 'per_example'; rename the class .* mine=mine\.py",
        ),
        ("mine.py:Absent", r"^there is no class Absent in mine\.py$"),
        (
            "mine.py:Other",
            r"^Other in mine\.py: expected a subclass of impls\.interface\.Implementation, got .*Setting",
        ),
        (
            "mine.py:Unfinished",
            r"^mine\.py: Unfinished defines neither gradients nor step: define one of them, or both$",
        ),
        ("per_example=mine.py:Mine", "an implementation is already called 'per_example'; give the row another name"),
        *((f"{label}=in_place", "expected a name of up to 40 letters") for label in ("", "two words", "a@1", "x" * 41)),
    ],
)
def test_what_is_no_implementation_is_refused_in_a_line(
    mine: Path, monkeypatch: pytest.MonkeyPatch, spec: str, words: str
) -> None:
    monkeypatch.chdir(mine.parent)
    with pytest.raises(RowError, match=words):
        find(spec).load()


def test_row_by_path(mine: Path) -> None:
    entry = find(f"{mine}:Mine")
    assert (entry.name, entry.summary, entry.source) == ("Mine", f"from {mine}", "mine.py")
    assert entry.load().__name__ == "Mine"


def test_path_of_a_known_module_does_not_replace_it(mine: Path) -> None:
    path = mine.rename(mine.with_name("json.py"))
    assert find(f"{path}:Mine").load().__name__ == "Mine"
    assert sys.modules["json"] is json


def test_row_by_path_may_import_what_stands_beside_it(mine: Path) -> None:
    (mine.parent / "beside_mine.py").write_text("NUMBER = 7")
    mine.write_text(f"from beside_mine import NUMBER\n{ROW}")
    module = sys.modules[find(f"{mine}:Mine").load().__module__]
    assert vars(module)["NUMBER"] == 7


def test_a_label_names_a_row(mine: Path) -> None:
    old, twin = find(f"old={mine}:Mine"), find("twin=in_place")
    assert (old.name, old.implementation, old.summary) == ("old", "Mine", f"from {mine}")
    assert old.load().__name__ == "Mine"
    assert (twin.name, twin.implementation, twin.target) == ("twin", "in_place", ENTRIES["in_place"].target)
    assert find("in_place=in_place") == find("in_place")
    assert find(f"mine={mine}:Mine").implementation == "Mine"


def test_a_label_lets_a_class_have_the_name_of_a_row(mine: Path) -> None:
    mine.write_text(ROW.replace("class Mine", "class per_example"))
    assert find(f"mine={mine}:per_example").name == "mine"


def test_a_path_may_have_an_equals_sign(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mine.parent / "a=b"
    folder.mkdir()
    mine.rename(folder / "mine.py")
    monkeypatch.chdir(mine.parent)
    assert find("./a=b/mine.py:Mine").name == "Mine"
    assert find("c=a=b/mine.py:Mine").name == "c"


def test_two_rows_of_one_name_are_told_how_to_be_named(mine: Path) -> None:
    other = mine.with_name("other.py")
    other.write_text(ROW)
    with pytest.raises(
        RowError, match=rf"two rows would be called 'Mine': from {mine} and from {other}; .*new={other}"
    ):
        find_all([f"{mine}:Mine", f"{other}:Mine"])
    with pytest.raises(RowError, match="'control' is a row of the benchmark's own; name yours: mine=in_place"):
        find_all(["control=in_place"], reserved=("control",))
    found = find_all([f"old={mine}:Mine", f"{other}:Mine", f"old={mine}:Mine", "twin=in_place", "in_place"])
    assert [entry.name for entry in found] == ["old", "Mine", "twin", "in_place"]


def test_missing_dependency_makes_a_row_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = Needs(("no_such_module",), lambda: "pip install no-such-thing")
    monkeypatch.setitem(ENTRIES, "ghost", Entry("ghost", Target("impls.ghost", "Ghost"), "not there", needs))
    assert entries()["ghost"].unavailable() == "needs no_such_module: pip install no-such-thing"
    with pytest.raises(Unavailable, match="ghost is unavailable: it needs no_such_module: pip install no-such"):
        find("ghost").load()


# --- What to do about a missing dependency -----------------------------------------------------------------------


def command_of(name: str) -> list[str]:
    """Return the words of the command that the registry names for an implementation, as a shell would read them."""
    needs = ENTRIES[name].needs
    assert needs is not None
    return shlex.split(needs.command())


@pytest.fixture
def with_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an environment with pip, whatever the tests run in."""
    monkeypatch.setattr(needs, "is_installed", lambda _name: True)


def test_what_is_installed_is_known_without_looking_for_modules() -> None:
    """To look for pip as a module makes setuptools withdraw its distutils, and with it PyTorch's compiler."""
    program = (
        "import sys; from impls.support.needs import is_installed; sys.meta_path.insert(0, sys)\n"
        "sys.find_spec = lambda name, *_: looked.append(name); looked = []\n"
        "assert is_installed('numpy') and not is_installed('no-such-thing'); is_installed('pip')\n"
        "assert 'pip' not in looked, looked"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_pip_uv_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "is_installed", lambda _name: False)
    program, *words = command_of("numba")
    assert [program, *words[:3]] == ["uv", "pip", "install", "--python"]
    assert Path(words[3]).resolve() == Path(sys.executable).resolve()
    assert words[4:] == ["numba"]


@pytest.mark.usefixtures("with_pip")
def test_the_command_works_at_the_root_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    python, *words = command_of("torch")
    assert Path(python).resolve() == Path(sys.executable).resolve()
    assert words == ["-m", "pip", "install", "-e", ".[torch]"]
    if Path(sys.executable).is_relative_to(ROOT):
        assert not Path(python).is_absolute()
    assert command_of("rust_fused") == ["make", "rust"]


@pytest.mark.usefixtures("with_pip")
def test_the_command_works_anywhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_of("torch") == [sys.executable, "-m", "pip", "install", "-e", f"{ROOT}[torch]"]
    assert command_of("rust_fused") == ["make", "-C", str(ROOT), "rust"]


@pytest.mark.usefixtures("with_pip")
def test_the_commands_name_extras_and_targets_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name in (entry.name for entry in ENTRIES.values() if entry.needs):
        program, *words = command_of(name)
        if program == "make":
            assert words[-1] in targets, name
        elif "-e" in words:
            assert words[-1].removeprefix(".[").removesuffix("]") in extras, name
        else:
            assert words[:3] == ["-m", "pip", "install"], name


# --- Errors of modules, entry points -----------------------------------------------------------------------------


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
        find(f"{path}:Broken").load()
    assert not [name for name in sys.modules if "broken" in name and not name.startswith("torch.")]


def test_entry_point_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry_points(monkeypatch, [("theirs", "impls.batched_2d:Batched2D")])
    assert list(entries()) == [*ENTRIES, "theirs"]
    assert entries()["theirs"].summary.startswith("entry point of ")
    assert find("theirs").load().__name__ == "Batched2D"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("control", "a row of the benchmark is already called 'control'"),
        ("peak", "a row of the benchmark is already called 'peak'"),
        ("in_place", "an implementation is already called 'in_place'"),
        ("batched_2d@1", "expected up to 40 letters, digits and _ . -, found 'batched_2d@1'"),
        ("x\x1b[31m\n" * 50, "expected up to 40 letters"),
    ],
)
def test_an_entry_point_with_a_name_that_is_no_rows_is_listed_and_not_run(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    add_entry_points(monkeypatch, [(name, "impls.batched_2d:Batched2D")])
    *_, (listed, entry) = entries().items()
    assert listed.endswith(" (impls.batched_2d:Batched2D)")
    assert listed.isprintable()
    assert f"needs another name: {words}" in (entry.unavailable() or "")


def test_the_benchmarks_own_rows_are_reserved() -> None:
    assert set(RESERVED) == {CONTROL, PEAK, REFERENCE}


def test_a_row_of_the_project_by_its_path_is_that_row() -> None:
    """What Numba keeps on disk has the module's name in it: under another name, the row could not read it again."""
    assert find(f"{ROOT / 'impls' / 'in_place.py'}:InPlace").load() is find("in_place").load()


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_a_row_whose_compiler_is_switched_off_is_unavailable(
    value: str, is_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be timed as something else than what it is."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())  # as if all were installed
    monkeypatch.setattr("impls.registry.no_compiler", lambda: None)
    for name, variable in (
        ("numba", "NUMBA_DISABLE_JIT"),
        ("jax", "JAX_DISABLE_JIT"),
        ("torch_compiled", "TORCH_COMPILE_DISABLE"),
        ("torch_compiled", "TORCHDYNAMO_DISABLE"),
    ):
        monkeypatch.setenv(variable, value)
        words = (find(name).unavailable() or "").partition("which ")[2]
        assert words == (f"{variable}={value} switches off: unset it" if is_off else "")
        monkeypatch.delenv(variable)
