"""Importing the class of a row: from a module by its name, or from a file by its path."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from impls import ROOT
from impls.support.errors import RowError

if TYPE_CHECKING:
    from impls.interface import Implementation


@dataclass(frozen=True)
class Target:
    """Where the class of an implementation is: in a module, known by its name or by the path of its file."""

    module: str  # "impls.in_place" or "/home/me/mine.py"
    class_name: str
    engine: str = ""  # another implementation, which the class uses

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Return the target of `module:Class`, `path/to/file.py:Class` or `module:Class[engine]`."""
        module, _, class_name = text.rpartition(":")
        class_name, _, engine = class_name.removesuffix("]").partition("[")
        return cls(module, class_name, engine)

    @property
    def path(self) -> Path | None:
        """Return the path of the file, None for a module that is imported by its name."""
        return Path(self.module) if self.module.endswith(".py") else None

    def __str__(self) -> str:
        return f"{self.module}:{self.class_name}" + (f"[{self.engine}]" if self.engine else "")


def load_target(target: Target) -> "type[Implementation]":
    """Import and return the class that a target names. Raises RowError if it is not an Implementation."""
    from impls.interface import Implementation, check_complete

    module = _import_path(target.path) if target.path else importlib.import_module(target.module)
    shown = target.path.name if target.path else target.module
    cls = getattr(module, target.class_name, None)
    if cls is None:
        raise RowError(f"there is no class {target.class_name} in {shown}")
    if not (isinstance(cls, type) and issubclass(cls, Implementation)):
        raise RowError(
            f"{target.class_name} in {shown}: expected a subclass of impls.interface.Implementation, got {cls!r}"
        )
    try:
        check_complete(cls)
    except TypeError as error:
        raise RowError(f"{shown}: {error}") from error
    return cls.with_engine(target.engine) if target.engine else cls  # type: ignore[attr-defined]


def _import_path(path: Path) -> object:
    if path.parent == ROOT / "impls":
        return importlib.import_module(f"impls.{path.stem}")  # what Numba keeps on disk has a module's name in it
    name = str(path)  # no other module's name, so that an implementation in json.py does not replace json
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None, "every file that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look it up
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what stands beside it; last, so that it replaces no other module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
