"""Implementations as they were in another revision or folder, to be timed in the same rounds as today's.

One of this project is loaded with the whole of `impls` as it was there; `bench` is today's. One that is given by its
path is loaded from the same place in the other revision of its own repository, or from the folder that is given.
One whose code is in an installed distribution, a wheel in Rust or a third party's package, would be compared with
itself: it is unavailable.
"""

import io
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

from bench.records import BEFORE
from impls import ROOT
from impls.registry import Entry
from impls.support.errors import UserError
from impls.support.needs import lacking

BUILT = shutil.ignore_patterns("__pycache__", "target")  # what Python and cargo leave there


class Before:
    """A revision or a folder, and the temporary folder in which it can be imported."""

    def __init__(self, given: str, folder: Path) -> None:
        """Take what the user gave, a folder or a revision that git knows; and where its files may be copied to."""
        self._given = given
        self._folder = folder
        self._trees: dict[tuple[Path, str], Path] = {}  # of parts of repositories, as they were

    def entries(self, chosen: Iterable[Entry]) -> list[Entry]:
        """Return the entries as they were, each under its name and `-before`. Raises UserError."""
        return [self._entry(entry) for entry in chosen]

    def _entry(self, entry: Entry) -> Entry:
        name = f"{entry.name}{BEFORE}"
        before = replace(entry, name=name, own_name=entry.implementation)
        module, path = entry.target.module, entry.target.path
        if path:
            return replace(before, target=replace(entry.target, module=str(self._file(path))))
        if entry.needs and entry.needs.distribution:
            words = f"{entry.needs.distribution} of that revision: the installed one would be compared with itself"
            return replace(before, needs=lacking(f"{words}; time each in a run of its own, then: backprop compare"))
        tree = self._impls()
        file = tree.joinpath(*module.split(".")).with_suffix(".py")
        if not file.is_file():
            return replace(before, needs=lacking(f"{module}, which {self._given} does not have"))
        return replace(before, tree=str(tree))

    def _impls(self) -> Path:
        """Return a folder that holds `impls` as it was, and nothing else that could be imported."""
        folder = Path(self._given)
        if not folder.is_dir():
            return self._tree(ROOT, "impls")
        if not (folder / "impls" / "interface.py").is_file():
            raise UserError(f"--against={self._given}: expected a folder that holds impls/, found none in it")
        copy = self._folder / "folder"
        if not copy.is_dir():
            shutil.copytree(folder / "impls", copy / "impls", ignore=BUILT, ignore_dangling_symlinks=True)
        return copy

    def _file(self, path: Path) -> Path:
        """Return where a file of a third party is, as it was."""
        folder = Path(self._given)
        if folder.is_dir():
            same_place = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
            earlier = folder / (same_place if (folder / same_place).is_file() else path.name)
        else:
            root = _repository(path.parent, self._given)
            earlier = self._tree(root, ".") / path.relative_to(root)
        if not earlier.is_file():
            raise UserError(f"--against={self._given}: expected {path.name} there, found no {earlier}")
        return earlier.resolve()

    def _tree(self, root: Path, what: str) -> Path:
        """Return a folder with a part of a repository as it was at the revision."""
        if (root, what) not in self._trees:
            revision = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._given}^{{commit}}")
            if revision is None:
                raise UserError(
                    f"--against={self._given}: expected a revision of {root} or a folder, found neither; "
                    "`git log --oneline` lists revisions"
                )
            archive = _git(root, "archive", "--format=zip", revision.decode().strip(), what)
            if archive is None:
                raise UserError(f"--against={self._given}: there is no {what} in that revision of {root}")
            folder = self._folder / f"revision-{len(self._trees)}"
            ZipFile(io.BytesIO(archive)).extractall(folder)
            self._trees[root, what] = folder
        return self._trees[root, what]


def _repository(folder: Path, given: str) -> Path:
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None:
        raise UserError(f"--against={given}: expected a folder, or {folder} to be in a git repository, found neither")
    return Path(root.decode().strip())


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what a git command prints, None if it fails or there is no git."""
    try:
        return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
