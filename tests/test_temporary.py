"""A temporary folder that is gone with the process that made it."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.temporary import folder_of_this_process
from impls.errors import UserError

HOLDS_ONE = """
import sys, time
from pathlib import Path
from bench.temporary import folder_of_this_process
with folder_of_this_process(where=Path(sys.argv[1])) as folder:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "file").write_text("some")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_it_is_empty_private_and_gone_in_the_end(tmp_path: Path) -> None:
    with folder_of_this_process("mine-", tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith("mine-")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("some")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_it_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), folder_of_this_process(where=tmp_path) as folder:
        (folder / "missing").read_text()
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_if_its_process_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDS_ONE, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().decode().strip())
    assert (folder / "deep" / "er" / "file").is_file()
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_if_what_removes_it_was_killed(tmp_path: Path) -> None:
    with folder_of_this_process(where=tmp_path):
        (remover,) = [each for each in psutil.Process().children() if str(tmp_path) in " ".join(each.cmdline())]
        remover.kill()
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing"
    words = f"no temporary folder can be made in {missing}: No such file or directory"
    with pytest.raises(UserError, match=words), folder_of_this_process(where=missing):
        pass
    monkeypatch.setattr("sys.executable", str(missing))
    words = "no temporary folder can be made: No such file or directory"
    with pytest.raises(UserError, match=words), folder_of_this_process(where=tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
