"""Importing the class of a row: from a module by its name, or from a file by its path."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from impls import ROOT
from impls.errors import RowError

if TYPE_CHECKING:
    from impls.interface import Implementation


def load_target(target: str) -> "type[Implementation]":
    """Import and return the class that an entry's target names. Raises RowError if it is not an Implementation."""
    from impls.interface import Implementation, check_complete

    module_name, _, class_name = target.rpartition(":")
    by_path = module_name.endswith(".py")
    module = _import_path(Path(module_name)) if by_path else importlib.import_module(module_name)
    shown = Path(module_name).name if by_path else module_name
    found = getattr(module, class_name, None)
    if found is None:
        raise RowError(f"there is no class {class_name} in {shown}")
    if not (isinstance(found, type) and issubclass(found, Implementation)):
        raise RowError(f"{class_name} in {shown}: expected a subclass of impls.interface.Implementation, got {found!r}")
    try:
        check_complete(found)
    except TypeError as error:
        raise RowError(f"{shown}: {error}") from error
    return found


def _import_path(path: Path) -> object:
    if path.parent == ROOT / "impls":
        return importlib.import_module(f"impls.{path.stem}")  # what Numba keeps on disk has a module's name in it
    name = str(path)  # no other module's name, so that an implementation in json.py does not replace json
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RowError(f"{path}: not a Python file")
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
