"""Files are written whole or not at all, whatever stands in their way."""

import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn

import pytest

from bench.atomic import check_file, check_writable, write_whole
from impls.errors import UserError


@pytest.fixture
def umask() -> Generator[None]:
    """Put the process's umask back after a test that sets it."""
    before = os.umask(0)
    os.umask(before)
    yield
    os.umask(before)


@pytest.mark.parametrize("content", ["1 µs\n", b"\x89PNG\r\n", ""])
def test_the_file_holds_what_was_written_and_nothing_else_is_left(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folders" / "results.json"
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_not_written_into(tmp_path: Path) -> None:
    """A reader who has the old file open goes on reading the old file."""
    path = tmp_path / "results.json"
    write_whole(path, "old and long")
    with path.open() as old:
        write_whole(path, "new")
        assert old.read() == "old and long"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("moment", ["write", "replace"])
def test_whatever_comes_between_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, moment: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text("the one before")

    def fail(*_arguments: object) -> NoReturn:
        raise error

    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr(os, "fdopen", fail)
        else:
            patch.setattr(Path, "replace", fail)
        with pytest.raises(UserError if isinstance(error, OSError) else type(error)) as raised:
            write_whole(path, "half")
    if isinstance(error, OSError):
        assert str(raised.value) == f"{path}: cannot be written: No space left on device; choose another place"
    assert path.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_at_a_guessed_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first names that the temporary file would get are taken by links to a file of somebody else."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    shared = tmp_path / "shared"
    shared.mkdir()
    own = os.getpid()
    guessed = [".results.json.aaaaaaaa", ".results.json.bbbbbbbb", f".results.json.{own}.tmp"]
    guessed += [".probe", f".probe.{own}", f"..probe.{own}.{own}.tmp"]
    for name in guessed:
        (shared / name).symlink_to(victim)
    names = iter(["aaaaaaaa", "bbbbbbbb", "cccccccc"])
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
    write_whole(shared / "results.json", "ours")
    check_writable(shared)
    assert victim.read_text() == "precious"
    assert (shared / "results.json").read_text() == "ours"
    assert not (shared / "results.json").is_symlink()
    assert next(names, None) is None  # all three were tried


def test_the_temporary_name_is_another_one_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = Path.replace

    def note(self: Path, target: Path) -> Path:
        seen.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", note)
    for _ in range(5):
        write_whole(tmp_path / "results.json", "x")
    assert len(set(seen)) == 5
    assert all(name.startswith(".results.json.") and str(os.getpid()) not in name for name in seen)


def test_a_link_in_the_files_place_is_replaced(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "results.json"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_whole(path, "ours")
    assert (victim.read_text(), path.read_text()) == ("precious", "ours")


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A device in a folder that may be written to would be gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link", tmp_path):
        with pytest.raises(UserError, match="expected a file or nothing there"):
            write_whole(path, "content")
        with pytest.raises(UserError, match="expected a file or nothing there"):
            check_file(path)
    assert pipe.is_fifo()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "results.json"
    os.umask(mask)
    write_whole(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.umask(mask) == mask  # and is as it was


def test_what_is_in_the_way_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "results.json", tmp_path / "folder"):
        with pytest.raises(UserError, match=r"^\S+: cannot be written: [\w ]+; choose another place$"):
            write_whole(path, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_is_tried_before_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    check_writable(folder)
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/results")):
        with pytest.raises(UserError, match=r"^\S+: cannot be written to: [\w ]+; choose another place$"):
            check_writable(place)
