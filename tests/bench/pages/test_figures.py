"""README and the notes: their figures are those of the committed results, their code runs, what they name is there."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_up_results import made_up_results, row
from processes import outside_of_make
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser

from bench.analysis.results_files import read, to_builtins
from bench.cli import figures
from bench.output.table import markdown
from bench.pages import figures as report_figures
from bench.pages import reference_runs
from bench.pages.figures import speed_up, times_table
from bench.records import Estimate, Results
from bench.runner.launch import ENVIRONMENT as LAUNCHING
from bench.workloads.names import default_workloads, sweeps
from impls import ROOT
from impls.registry import ENTRIES
from profiles.recorder import NotPermitted, py_spy

Backprop = Callable[..., tuple[int, str, str]]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?<=\n\n)(?:    .*\n)+")
COMMAND = re.compile(r"^    (?:\.venv/bin/)?((?:backprop|make|mpiexec) .*?)(?:\s+# .*)?$", re.MULTILINE)
QUICK = {  # what is run in place of a command that takes minutes or needs the network
    r"make (.*)": r"make --dry-run \1",
    r"backprop bench(.*)": r"backprop bench\1 --collect-only -q",
    r"backprop (scale|data fetch)( .*)?": r"backprop \1 --help",
    r"(backprop train .*)": r"\1 --epochs=1 --data=digits",
    r"backprop profile(| in_place .*)": r"backprop profile in_place --seconds=1",
}


# --- Figures -----------------------------------------------------------------------------------------------------


def test_all_pages_are_current(backprop: Backprop) -> None:
    status, output, _ = backprop("figures", "--check")
    assert status == 0, output


def test_a_stale_page_is_reported_and_written_again(
    backprop: Backprop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    text = '# µ\n\n<!--[[[cog print(time("default", "book", "numba")) ]]]-->\n{}\n<!--[[[end]]]-->\n'
    page.write_text(text.format("7 s"), encoding="utf-8")
    monkeypatch.setattr(figures, "PAGES", [page])
    assert backprop("figures", "--check")[0] == 1
    assert page.read_text(encoding="utf-8") == text.format("7 s")
    assert backprop("figures")[0] == 0
    assert page.read_text(encoding="utf-8") == text.format("12.1 µs")
    assert backprop("figures", "--check")[0] == 0


def write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"benchmarks": [{}] * 5, Results.KEY: to_builtins(results)}))


@pytest.fixture
def folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that stands for the committed results."""
    monkeypatch.setattr(report_figures, "REFERENCE", tmp_path)
    monkeypatch.setattr(reference_runs, "REFERENCE", tmp_path)
    report_figures.reference.cache_clear()
    yield tmp_path
    report_figures.reference.cache_clear()


def test_figures_are_made_from_the_samples(folder_of_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = made_up_results()
    results.rows[3].speed_up = Estimate(99.0, 98.0, 100.0)  # as somebody edited it
    write(folder_of_runs / "edited" / "results.json", results)
    assert speed_up("edited", "book", "in_place") == "10.0 (10.0 to 10.0)"
    assert speed_up("edited", "book", "in_place", "batched_2d").startswith("1.25 (")
    assert speed_up("edited", "book", "torch") == "–"
    times_table("edited", "book", "per_example in_place torch")
    assert capsys.readouterr().out.strip().splitlines() == [
        "| implementation | `book` | speed-up |",
        "| --- | ---: | ---: |",
        "| `per_example` | 400 µs | 1 |",
        "| `in_place` | 40.0 µs | 10.0 (10.0 to 10.0) |",
        "| `torch` | – | – |",
    ]


def test_runs_become_small_enough_to_commit(folder_of_runs: Path) -> None:
    """The repeated ones become tables; the others can be read as before, and show the same."""
    for name, slower in (("control", 1.0), ("seven", 1.07), ("ten", 1.1)):
        for number in range(3):
            results = made_up_results()
            results.rows += [row("twin", 4e-5 * slower, 10 / slower), row("slower", 4.12e-5, 9.7)]
            write(folder_of_runs / name / str(number) / "results.json", results)
    path = folder_of_runs / "default" / "results.json"
    write(path, made_up_results())
    size, before = path.stat().st_size, markdown(read(path))
    reference_runs.main()
    assert path.stat().st_size < size
    assert markdown(read(path)) == before
    assert [each.name for each in folder_of_runs.iterdir() if each.is_dir()] == ["default"]
    tables = json.loads((folder_of_runs / "repeated.json").read_text())
    assert tables["gates"] == ["0 of 2", "3 of 3", "3 of 3"]
    assert tables["summary"][2] == ["twin", "in_place", "3 of 3", "0 of 3", "± 0 %"]
    assert tables["summary"][3] == ["slower", "in_place", "0 of 3", "3 of 3", "± 0 %"]
    assert len(tables["runs"]) == 3


def test_the_committed_results_are_small() -> None:
    files = [path for path in (ROOT / "results" / "reference").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5e6


# --- Code --------------------------------------------------------------------------------------------------------


def commands(document: Document) -> Iterator[Region]:
    """Find the commands in the indented blocks of a page."""
    blocks = [match.span() for match in BLOCK.finditer(document.text)]
    for match in (match for block in blocks for match in COMMAND.finditer(document.text, *block)):
        yield Region(match.start(), match.end(), match[1].strip(), run_quickly)


def run_quickly(example: Example) -> None:
    """Run a command, or what shows in seconds that it works."""
    command = example.parsed.replace("=/tmp/", "=")
    for pattern, quick in QUICK.items():
        if re.fullmatch(pattern, command):
            command = re.sub(pattern, quick, command)
    done = run(example.namespace["folder"], command)
    assert done.returncode == 0, f"{command}\n{done.stdout[-800:]}\n{done.stderr[-800:]}"


def run(folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a shell does in an activated environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = outside_of_make() | LAUNCHING | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, env=environment, timeout=120, check=False
    )


PAGE_EXAMPLES = [
    (page, example) for page in figures.PAGES for example in Sybil([commands], path=str(ROOT)).parse(page).examples()
]
EXAMPLES = [
    pytest.param(example, id=f"{page.relative_to(ROOT)}: {command}")
    for command, (page, example) in {example.parsed: (page, example) for page, example in PAGE_EXAMPLES}.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where a reader's commands find what they name: the checkout, README's example, a small run."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("bench", "impls", "tests", "Makefile", "pyproject.toml", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "profiles" / "recordings", folder / "profiles" / "recordings")  # pictures are drawn there
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    (block,) = Sybil([CodeBlockParser("python", str)], path=str(ROOT)).parse(ROOT / "README.md").examples()
    (folder / "mine.py").write_text(block.parsed)
    small = "--workload=20-8-4:4 --generations=1 --seconds=0.1"
    commit = "git init --quiet && git add mine.py && git -c user.name=x -c user.email=x commit --quiet --message=mine"
    for command in (commit, f"backprop bench {small} --impl=in_place --impl=batched_2d --impl=mine.py:Mine"):
        assert run(folder, command).returncode == 0
    return folder


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_command_works_as_written(folder: Path, example: Example) -> None:
    if "mpi" in example.parsed and (missing := ENTRIES["mpi"].unavailable()):
        pytest.skip(f"mpi {missing}")
    if example.parsed.startswith("backprop profile"):
        try:
            py_spy()
        except NotPermitted as error:
            pytest.skip(str(error))
    example.namespace["folder"] = folder
    example.evaluate()


def test_there_are_commands_in_the_pages() -> None:
    assert len(EXAMPLES) > 20


# --- What the pages name -----------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_every_implementation_workload_and_sweep_is_described() -> None:
    for name in [*ENTRIES, *default_workloads(), *sweeps()]:
        assert f"`{name}`" in README or f"`--sweep={name}`" in README, name


@pytest.mark.slow("runs benchmarks")
def test_every_option_of_the_benchmark_is_described() -> None:
    command = [sys.executable, "-m", "pytest", "bench/", "--help"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    options = re.findall(r"^  (--[a-z-]+)", output.partition("backprop-bench:")[2].partition("\n\n")[0], re.MULTILINE)
    assert len(options) >= 9
    for option in options:
        assert re.search(rf"`{option}[`=]", README), option
    assert set(re.findall(r"^\| .*`(--[a-z-]+)", README, re.MULTILINE)) <= set(options)


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
