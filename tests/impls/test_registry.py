"""The registry: what listing costs, how implementations are found and loaded, and what it says when they are not."""

import importlib.metadata
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.records import CONTROL
from bench.runner.candidates import PEAK, REFERENCE
from impls import ROOT
from impls.registry import ENTRIES, ENTRY_POINTS, RESERVED, Entry, entries, find, find_all
from impls.support import needs
from impls.support.errors import RowError, Unavailable
from impls.support.loading import Target
from impls.support.needs import Needs

HEAVY = {"jax", "matplotlib", "mpi4py", "msgspec", "numba", "numpy", "rich", "scipy", "sklearn", "tensorflow", "torch"}

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


def add_entry_point(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    points = [importlib.metadata.EntryPoint(name, "impls.batched_2d:Batched2D", ENTRY_POINTS)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points if group == ENTRY_POINTS else [])


def test_listing_imports_nothing_heavy() -> None:
    """Neither an implementation nor any library, not even NumPy."""
    program = (
        "import sys, json; from impls.registry import entries, find; known = entries(); "
        "[entry.unavailable() for entry in known.values()]; find('in_place'); "
        "print(json.dumps([list(known), sorted(sys.modules)]))"
    )
    listed, modules = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    assert listed[:6] == ["pure_python", "per_example", "batched_3d", "batched_2d", "in_place", "multithreaded"]
    assert {module.split(".")[0] for module in modules} & HEAVY == set()
    assert set(modules) & {entry.target.module for entry in ENTRIES.values()} == set()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("per_exmaple", "unknown implementation 'per_exmaple'; did you mean per_example"),
        ("zzz", r"known: pure_python, per_example, .*path/to/file\.py:Class"),
        ("absent.py:Mine", r"there is no file absent\.py"),
        ("mine.py", r"mine\.py: expected the name of an implementation .* found a file"),
        ("mine.py:per_example", r"already called 'per_example'; give yours another name: mine=mine\.py:per_example"),
        ("mine.py:Absent", r"^there is no class Absent in mine\.py$"),
        (
            "mine.py:Other",
            r"^Other in mine\.py: expected a subclass of impls\.interface\.Implementation, got .*Setting",
        ),
        (
            "mine.py:Unfinished",
            r"^mine\.py: Unfinished defines neither gradients nor step: define one of them, or both$",
        ),
        ("per_example=mine.py:Mine", "an implementation is already called 'per_example'; give yours another name"),
        ("control=in_place", "'control' is a name of the benchmark's own; give yours another name: mine=in_place"),
        *((f"{label}=in_place", "expected a name of up to 40 letters") for label in ("", "a@1", "x" * 41)),
    ],
)
def test_what_is_no_implementation_is_refused_in_a_line(
    mine: Path, monkeypatch: pytest.MonkeyPatch, spec: str, words: str
) -> None:
    monkeypatch.chdir(mine.parent)
    with pytest.raises(RowError, match=words):
        find(spec).load()


def test_an_implementation_in_a_file(mine: Path) -> None:
    entry = find(f"{mine}:Mine")
    assert (entry.name, entry.summary, entry.source) == ("Mine", f"from {mine}", "mine.py")
    assert entry.load().__name__ == "Mine"


def test_path_of_a_known_module_does_not_replace_it(mine: Path) -> None:
    path = mine.rename(mine.with_name("json.py"))
    assert find(f"{path}:Mine").load().__name__ == "Mine"
    assert sys.modules["json"] is json


def test_a_file_may_import_what_stands_beside_it(mine: Path) -> None:
    (mine.parent / "beside_mine.py").write_text("NUMBER = 7")
    mine.write_text(f"from beside_mine import NUMBER\n{ROW}")
    module = sys.modules[find(f"{mine}:Mine").load().__module__]
    assert vars(module)["NUMBER"] == 7


def test_a_label_names_an_implementation(mine: Path) -> None:
    old, twin = find(f"old={mine}:Mine"), find("twin=in_place")
    assert (old.name, old.implementation, old.load().__name__) == ("old", "Mine", "Mine")
    assert (twin.name, twin.implementation, twin.target) == ("twin", "in_place", ENTRIES["in_place"].target)
    assert find("in_place=in_place") == find("in_place")


def test_a_path_may_have_an_equals_sign(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    Path("a=b").mkdir()
    mine.rename("a=b/mine.py")
    assert [find(spec).name for spec in ("./a=b/mine.py:Mine", "c=a=b/mine.py:Mine")] == ["Mine", "c"]


def test_two_implementations_of_one_name_are_refused_with_a_label(mine: Path) -> None:
    other = mine.with_name("other.py")
    other.write_text(ROW)
    words = rf"two implementations would be called 'Mine': from {mine} and from {other}; .*new={other}"
    with pytest.raises(RowError, match=words):
        find_all([f"{mine}:Mine", f"{other}:Mine"])
    chosen = find_all([f"old={mine}:Mine", f"{other}:Mine", f"old={mine}:Mine", "twin=in_place", "in_place"])
    assert [entry.name for entry in chosen] == ["old", "Mine", "twin", "in_place"]


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        (Needs(("no_such_module",), lambda: "pip install it"), "needs no_such_module: pip install it"),
        (Needs(("no_such_module",), lambda: "pip install it", lambda: "beads"), "needs no_such_module: pip install it"),
        (Needs(("json",), str, lambda: "beads"), "needs beads"),
    ],
)
def test_what_is_missing_makes_an_implementation_unavailable(
    requirements: Needs, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("ghost", Target("impls.ghost", "Ghost"), "not there", requirements)
    monkeypatch.setitem(ENTRIES, "ghost", entry)
    with pytest.raises(Unavailable, match=f"ghost is unavailable: it {words}"):
        find("ghost").load()


def test_compiler_is_looked_for_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "a C++ compiler" in (needs.no_compiler() or "")
    (tmp_path / "clang++").touch(mode=0o755)
    assert needs.no_compiler() is None


# --- What to do about a missing dependency -----------------------------------------------------------------------


def command_of(name: str) -> list[str]:
    """Return the words of the command that the registry names for an implementation, as a shell would read them."""
    requirements = ENTRIES[name].needs
    assert requirements is not None
    return shlex.split(requirements.command())


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
@pytest.mark.parametrize("at_root", [True, False])
def test_the_command_works_where_the_user_stands(
    at_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ROOT if at_root else tmp_path
    monkeypatch.chdir(folder)
    python, *words = command_of("torch")
    assert (folder / python).resolve() == Path(sys.executable).resolve()
    assert words == ["-m", "pip", "install", "-e", ".[torch]" if at_root else f"{ROOT}[torch]"]
    assert command_of("rust_fused") == (["make", "rust"] if at_root else ["make", "-C", str(ROOT), "rust"])


@pytest.mark.usefixtures("with_pip")
def test_the_commands_name_extras_and_targets_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name, entry in ENTRIES.items():
        if not entry.needs:
            continue
        program, *words = command_of(name)
        if program == "make":
            assert words[-1] in targets, name
        elif "-e" in words:
            assert words[-1].removeprefix(".[").removesuffix("]") in extras, name
        else:
            assert words[:3] == ["-m", "pip", "install"], name


# --- Errors of modules, entry points -----------------------------------------------------------------------------


def test_an_error_of_a_file_propagates(mine: Path) -> None:
    mine.write_text("from json import no_such_function")
    with pytest.raises(ImportError, match="no_such_function"):
        find(f"{mine}:Mine").load()
    assert str(mine) not in sys.modules


def test_an_entry_point_is_an_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry_point(monkeypatch, "theirs")
    assert list(entries()) == [*ENTRIES, "theirs"]
    assert entries()["theirs"].summary.startswith("entry point of ")
    assert find("theirs").load().__name__ == "Batched2D"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("peak", "'peak' is a name of the benchmark's own"),
        ("in_place", "an implementation is already called 'in_place'"),
        ("x\x1b[31m\n" * 50, "expected a name of up to 40 letters"),
    ],
)
def test_an_entry_point_whose_name_cannot_be_used_is_listed_and_not_run(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    add_entry_point(monkeypatch, name)
    *_, (listed, entry) = entries().items()
    assert listed.endswith(" (impls.batched_2d:Batched2D)")
    assert listed.isprintable()
    assert f"needs another name: {words}" in (entry.unavailable() or "")


def test_the_benchmarks_own_names_are_reserved() -> None:
    assert set(RESERVED) == {CONTROL, PEAK, REFERENCE}


def test_an_implementation_of_the_project_by_its_path_is_that_one() -> None:
    """What Numba keeps on disk has the module's name in it: under another name, it could not be read again."""
    assert find(f"{ROOT / 'impls' / 'in_place.py'}:InPlace").load() is find("in_place").load()


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("0", False)])
def test_an_implementation_whose_compiler_is_switched_off_is_unavailable(
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
