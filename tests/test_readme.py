"""What the README says, run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.commands import COMMANDS
from bench.problem.workloads import default_workloads, sweeps
from bench.report.pages import pages
from bench.report.table import markdown
from bench.results.files import read
from impls.registry import ENTRIES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BACKPROP = Path(sys.executable).with_name("backprop")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return a file with the README's example of an implementation."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) < 25
    path = tmp_path / "mine.py"
    path.write_text(blocks[0])
    return path


@pytest.mark.slow("runs benchmarks")
def test_the_example_conforms(mine: Path) -> None:
    done = subprocess.run([BACKPROP, "verify", f"{mine}:Mine"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("Mine: conforms (all checks and ")


@pytest.mark.slow("runs benchmarks")
def test_the_example_can_be_timed_and_trained(mine: Path, tmp_path: Path) -> None:
    quick = ("--workload=20-8-4:4", "--generations=1", "--seconds=0.2", f"--results={tmp_path}")
    done = subprocess.run(
        [BACKPROP, "bench", f"--impl={mine}:Mine", *quick], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "Mine" in (tmp_path / "speedups.md").read_text()
    train = [str(BACKPROP), "train", "--data=digits", "--impl", f"{mine}:Mine", "--epochs=1"]
    assert "Epoch 0: " in subprocess.run(train, capture_output=True, text=True, check=True).stdout


def test_every_row_workload_and_sweep_is_described() -> None:
    for name in [*ENTRIES, *default_workloads(), *sweeps()]:
        assert f"`{name}`" in README or f"`--sweep={name}`" in README, name


@pytest.mark.slow("runs benchmarks")
def test_every_option_of_the_benchmark_is_described() -> None:
    command = [sys.executable, "-m", "pytest", "bench/", "--help"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = out.partition("backprop-bench:")[2].partition("\n\n")[0]
    options = re.findall(r"^  (--[a-z-]+)", ours, re.MULTILINE)
    assert len(options) >= 9
    for option in options:
        assert re.search(rf"`{option}[`=]", README), option
    for option in re.findall(r"^\| .*`(--[a-z-]+)", README, re.MULTILINE):
        assert option in options


def test_the_commands_that_it_names_are_there() -> None:
    named = re.findall(r"^    \.venv/bin/backprop ([a-z]+)", README, re.MULTILINE)
    assert len(named) >= 8
    assert set(named) <= COMMANDS.keys()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_table_is_the_reference_runs() -> None:
    findings = (ROOT / "results" / "notes" / "findings.md").read_text()
    assert markdown(read(ROOT / "results" / "reference" / "default" / "results.json")) in findings


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
