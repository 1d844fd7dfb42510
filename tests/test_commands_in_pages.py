"""The pages: every command that they show works as written."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import outside_of_make

from bench.measurement.launch import ENVIRONMENT as LAUNCHING
from bench.report.pages import MARKED, pages
from impls.registry import ENTRIES
from profiles.py_spy import NotPermitted, py_spy

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ROWS = ("--impl=in_place", "--impl=batched_2d", "--impl=mine.py:Mine")  # that commands of the pages compare
SMALL = ("--workload=20-8-4:4", "--generations=1", "--seconds=0.1", *ROWS)
# what is done instead of a command that takes minutes, needs the network or needs what is not everywhere
INSTEAD = {
    "make": "make --dry-run",
    "python3 -m venv": "true",
    "backprop data fetch": "backprop data fetch --help",
    "backprop profile": "backprop profile --help",
    "backprop scale": "backprop scale --help",
    "python -m pip": "true",
    "python -m pytest": "python -m pytest --version",
    "source": "true",
}


def blocks(page: Path) -> Iterator[str]:
    """Return the blocks of commands of a page: indented ones after an empty line, and fenced ones of a shell."""
    text = page.read_text()
    yield from re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"(?<=\n\n)((?:    \S.*\n)+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def commands() -> list[tuple[str, str]]:
    """Return the page and the command, without its comment, of every line of every block."""
    found = []
    for page in pages():
        for block in blocks(page):
            for line in block.splitlines():
                command = re.split(r"\s{2,}#|\s#\s", line.strip())[0].strip()
                if command:
                    found.append((page.relative_to(ROOT).as_posix(), command))
    return found


COMMANDS = [pytest.param(page, command, id=f"{page}: {command}") for page, command in dict.fromkeys(commands())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where commands find what they name: the checkout's own, a row, and results of a small run."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("bench", "impls", "tests", "Makefile", "pyproject.toml", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "recordings").mkdir()
    for path in (ROOT / "profiles" / "recordings").glob("*.raw.txt"):
        (folder / "profiles" / "recordings" / path.name).write_bytes(path.read_bytes())
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN)
    readme = (ROOT / "README.md").read_text()
    (folder / "mine.py").write_text(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0])
    commit = "git add mine.py && git -c user.name=x -c user.email=x commit --quiet --message=mine"
    assert run(folder, f"git init --quiet && {commit}").returncode == 0  # what --against looks into
    run(folder, f"backprop bench {shlex.join(SMALL)}")
    return folder


def run(folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of a page as a shell does in an activated environment."""
    environment = (
        outside_of_make() | LAUNCHING | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    )
    return subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, env=environment, timeout=120, check=False
    )


def quick(command: str) -> str:
    """Return a command that shows in seconds whether the one in the page works."""
    bare = command.replace(".venv/bin/", "").replace("=/tmp/", "=")  # where another user's files may stand
    for start, instead in INSTEAD.items():
        if bare.startswith(start):
            return f"{instead} {bare.removeprefix(start)}" if start == "make" else instead
    if re.match(r"(taskset -c \S+ )?backprop bench|for run in", bare):
        options = [word for word in shlex.split(bare.partition("backprop bench")[2]) if word.startswith("--")]
        kept = [word for word in options if not re.match(r"--(workload|generations|seconds|impl|results|sweep)", word)]
        names = [word for word in options if re.match(r"--(workload|sweep|impl)=", word)]
        collect = f"backprop bench --collect-only -q {shlex.join(names)}" if names else "true"
        return f"{collect} && backprop bench {shlex.join([*SMALL, *(word for word in kept if word != '--all')])}"
    if "backprop train" in bare:
        return f"{bare} --epochs=1 --data=digits"
    return bare


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_works_as_written(folder: Path, page: str, command: str) -> None:
    if "py-spy" in command or "profiles.target" in command or re.match(r"(while|read|kill|rm|:|until) ?", command):
        pytest.skip("the recipe by hand is run as a whole by tests/test_profiles.py")
    if "--impl=mpi" in command or "verify mpi" in command:
        missing = ENTRIES["mpi"].unavailable()
        if missing:
            pytest.skip(f"mpi {missing}")
    if "--against" in command and not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    if command.startswith("backprop profile") and "diff" not in command:
        try:
            py_spy()
        except NotPermitted as error:
            pytest.skip(str(error))
    done = run(folder, quick(command))
    assert done.returncode == 0, f"{page}: {command}\n{done.stdout[-800:]}\n{done.stderr[-800:]}"


def test_there_are_commands_in_the_pages() -> None:
    """Or the pattern above finds none, and nothing is tested."""
    assert len(COMMANDS) > 20
    assert any("backprop verify mine.py:Mine" in str(parameter.values[1]) for parameter in COMMANDS)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_only_markers_of_tables_begin_a_line(page: Path) -> None:
    """A line that begins with a comment ends the paragraph before it and is not read as Markdown."""
    text = page.read_text()
    for match in MARKED.finditer(text):
        begins = match.start() == 0 or text[match.start() - 1] == "\n"
        assert not begins or match["text"].startswith("\n\n"), f"{page}: {match[0][:80]}"
