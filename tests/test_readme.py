"""What the README says, run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.workloads import default_workloads, sweeps
from impls import ROWS

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


def test_the_example_conforms(mine: Path) -> None:
    done = subprocess.run([BACKPROP, "verify", f"{mine}:Mine"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Mine: conforms\n")


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
    for name in [*ROWS, *default_workloads(), *sweeps()]:
        assert f"`{name}`" in README or f"`--sweep={name}`" in README, name


def test_the_table_is_the_committed_runs() -> None:
    """Whoever has run the benchmark has a table of their own in its place."""
    git = subprocess.run(["git", "show", "HEAD:./results/speedups.md"], cwd=ROOT, capture_output=True, check=False)
    tables = [(ROOT / "results" / "speedups.md").read_text(), git.stdout.decode()]
    assert any(table and table in README for table in tables)


def test_the_files_that_it_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
