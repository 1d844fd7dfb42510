"""Files are written whole or not at all, whatever is in their way; temporary folders end with their process."""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from processes import wait_for

from bench.system.files import check_file, check_writable, temporary_folder, write_whole
from impls.support.errors import UserError


@pytest.mark.parametrize("content", ["1 µs\n", b"\x89PNG\r\n"])
def test_the_file_holds_what_was_written_and_nothing_else_is_left(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folders" / "results.json"
    write_whole(path, "old and long")
    with path.open() as old:
        write_whole(path, content)
        assert old.read() == "old and long"  # a reader who has the old file open goes on reading it
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whatever_comes_between_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "results.json"
    path.write_text("the one before")

    def fail(*_arguments: object) -> NoReturn:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", fail)
        words = f"{path}: cannot be written: No space left on device; choose another place"
        with pytest.raises((UserError, KeyboardInterrupt), match=f"^({words})?$"):
            write_whole(path, "half")
    assert path.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of the file, or at the name of its temporary file, had it been guessed."""
    victim, path = tmp_path / "victim", tmp_path / "results.json"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_whole(path, "ours")
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("precious", "ours", False)
    (tmp_path / ".results.json.guessed").symlink_to(victim)
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    with pytest.raises(UserError, match="cannot be written: File exists"):
        write_whole(path, "mine")
    assert victim.read_text() == "precious"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A device in a folder that may be written to would be gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        for function in (lambda path: write_whole(path, "content"), check_file):
            with pytest.raises(UserError, match=r"^\S+: cannot be written: expected a file or nothing there; choose"):
                function(path)
    assert pipe.is_fifo()


def test_a_folder_is_tried_before_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    check_writable(folder)
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/results")):
        with pytest.raises(UserError, match=r"^\S+: cannot be written: [\w ]+; choose another place$"):
            check_writable(place)


# --- Temporary folders -------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the system's temporary files go to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_empty_private_and_gone_in_the_end(place: Path) -> None:
    with suppress(FileNotFoundError), temporary_folder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("some")
        (folder / "missing").read_text()
    assert list(place.iterdir()) == []


def test_it_is_gone_if_its_process_is_killed(tmp_path: Path) -> None:
    program = (
        "import time; from bench.system.files import temporary_folder\nwith temporary_folder() as folder:\n"
        "    (folder / 'deep').mkdir(); (folder / 'deep' / 'file').touch(); print(flush=True); time.sleep(600)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(list(tmp_path.rglob("file"))) == 1
        process.kill()
    assert wait_for(lambda: list(tmp_path.iterdir()) == [], 60)


def test_where_it_cannot_be_is_reported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = place / "missing"
    monkeypatch.setattr(tempfile, "tempdir", str(missing))
    words = f"no temporary folder can be made in {missing}: No such file or directory"
    with pytest.raises(UserError, match=words), temporary_folder():
        pass
    monkeypatch.setattr("sys.executable", str(missing))
    with pytest.raises(UserError, match="no temporary folder can be made: No such file or directory"):
        temporary_folder().__enter__()
