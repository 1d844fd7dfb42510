"""Training that is interrupted and goes on: bit for bit, alone and on several ranks; and what ends a job of ranks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from required import needs

from bench.runner.launch import ENVIRONMENT
from impls import ROOT
from impls.registry import ENTRIES
from impls.support.mpiexec import mpiexec

needs_mpi = needs("mpi", ENTRIES["mpi"].unavailable())
Backprop = Callable[..., tuple[int, str, str]]
SMALL = ("train", "--sizes=784-8-10", "--data=digits", "--batch-size=10")
PROGRAM = Path(sys.executable).with_name("backprop")


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def contents(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays(path).items()}


def mpi(ranks: int, *arguments: object, program: Path = PROGRAM) -> "subprocess.CompletedProcess[str]":
    """Run the command line as a user does: mpiexec -n RANKS backprop …"""
    return subprocess.run(
        [str(mpiexec()), "-n", str(ranks), str(program), *map(str, arguments)],
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("name", ["in_place", pytest.param("mpi", marks=needs_mpi)])
def test_a_resumed_training_is_the_one_that_was_not_interrupted(backprop: Backprop, tmp_path: Path, name: str) -> None:
    whole, part, path = tmp_path / "whole.npz", tmp_path / "part.npz", tmp_path / "checkpoint.npz"
    _, straight, _ = backprop(*SMALL, f"--impl={name}", "--epochs=3", f"--save={whole}")
    _, first, _ = backprop(*SMALL, f"--impl={name}", "--epochs=1", f"--checkpoint={path}")
    status, rest, _ = backprop(
        *SMALL, f"--impl={name}", "--epochs=3", f"--checkpoint={path}", "--resume", f"--save={part}"
    )
    assert status == 0
    assert (first + rest).splitlines()[:3] == straight.splitlines()[:3]
    assert contents(whole) == contents(part)
    status, again, _ = backprop(*SMALL, f"--impl={name}", "--epochs=3", f"--checkpoint={path}", "--resume")
    assert (status, again) == (0, f"{path}: 3 epochs are done, of 3 asked for\n")


def change(path: Path, **changes: Any) -> None:
    """Write the file again with other arrays; None removes one."""
    np.savez(path, **{name: array for name, array in (arrays(path) | changes).items() if array is not None})


NO_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "not a checkpoint, or damaged: "),
    "shape": (lambda path: change(path, weights_0=np.zeros((8, 7))), "layer 0 is not as its settings say"),
    "saved network": (lambda path: change(path, checkpoint=None), "not a checkpoint, or damaged: KeyError: "),
    "pickle": (lambda path: change(path, checkpoint=np.array([None])), "Object arrays cannot be loaded"),
    "missing": (
        Path.unlink,
        "there is no checkpoint to resume (No such file or directory); leave --resume out to start one",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_a_file_that_is_no_checkpoint(
    backprop: Backprop, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "checkpoint.npz"
    backprop(*SMALL, "--epochs=1", f"--checkpoint={path}")
    spoil(path)
    status, _, errors = backprop(*SMALL, "--epochs=2", f"--checkpoint={path}", "--resume")
    assert status == 2
    assert words in errors
    assert errors.count("\n") == 1


def test_a_checkpoint_of_another_training(backprop: Backprop, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    backprop(*SMALL, "--epochs=1", f"--checkpoint={path}")
    before = path.read_bytes()
    for option, words in (
        ("--sizes=784-9-10", "of sizes (784, 9, 10), found (784, 8, 10); resume with the settings"),
        ("--batch-size=11", "of batch_size 11, found 10"),
        ("--learning-rate=1", "of learning_rate 1.0, found 3.0"),
        ("--seed=1", "of seed 1, found 0"),
        ("--dtype=float32", "of dtype float32, found float64"),
        ("--impl=batched_2d", "of implementation batched_2d, found in_place"),
    ):
        status, _, errors = backprop(*SMALL, option, "--epochs=2", f"--checkpoint={path}", "--resume")
        assert status == 2
        assert f"expected a checkpoint {words}" in errors
    assert path.read_bytes() == before


def test_resume_needs_a_file(backprop: Backprop) -> None:
    status, _, errors = backprop(*SMALL, "--resume")
    assert (status, errors.count("\n")) == (2, 1)
    assert "--resume: expected --checkpoint=FILE beside it" in errors


# --- On several ranks --------------------------------------------------------------------------------------------


@pytest.mark.slow("starts MPI jobs")
@needs_mpi
def test_two_ranks_train_as_one_and_resume_bit_for_bit(backprop: Backprop, tmp_path: Path) -> None:
    alone, whole, part, path = (tmp_path / name for name in ("alone.npz", "whole.npz", "part.npz", "checkpoint.npz"))
    _, expected, _ = backprop(*SMALL, "--epochs=2", f"--save={alone}")
    done = mpi(2, *SMALL, "--impl=mpi", "--epochs=2", f"--save={whole}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:-1] == expected.splitlines()[:-1]  # rank 0 alone reports
    for name, array in arrays(alone).items():
        np.testing.assert_allclose(arrays(whole)[name], array, rtol=0, atol=1e-11)
    assert mpi(2, *SMALL, "--impl=mpi", "--epochs=1", f"--checkpoint={path}").returncode == 0
    again = mpi(2, *SMALL, "--impl=mpi", "--epochs=2", f"--checkpoint={path}", "--resume", f"--save={part}")
    assert again.returncode == 0, again.stderr
    assert contents(whole) == contents(part)


@pytest.mark.slow("starts MPI jobs")
@needs_mpi
def test_ranks_do_not_train_each_for_itself() -> None:
    done = mpi(2, *SMALL, "--impl=in_place", "--epochs=1")
    assert done.returncode != 0
    assert (
        "rank 0: --impl=in_place: expected an implementation that 2 ranks compute together, such as mpi" in done.stderr
    )
    assert "Epoch" not in done.stdout


@pytest.mark.slow("starts MPI jobs")
@needs_mpi
def test_ranks_with_other_settings_are_told(tmp_path: Path) -> None:
    script = tmp_path / "uneven"
    script.write_text(f'#!/bin/sh\nexec {PROGRAM} "$@" --sizes=784-$((8 + OMPI_COMM_WORLD_RANK + PMI_RANK))-10\n')
    script.chmod(0o755)
    done = mpi(2, "train", "--impl=mpi", "--data=digits", "--epochs=1", program=script)
    assert done.returncode != 0
    assert (
        "sizes: expected the same on all ranks, found (784, 8, 10) on rank 0 and (784, 9, 10) on rank 1" in done.stderr
    )


@pytest.mark.slow("starts MPI jobs")
@needs_mpi
def test_a_rank_that_is_killed_ends_the_training(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    arguments = [str(mpiexec()), "-n", "2", str(PROGRAM), *SMALL, "--impl=mpi", "--epochs=100000"]
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*arguments, f"--checkpoint={path}"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        assert training.stdout is not None
        training.stdout.readline()
        ranks = [p for p in psutil.Process(training.pid).children(recursive=True) if "train" in p.cmdline()]
        assert len(ranks) == 2
        ranks[-1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        training.communicate(timeout=30)
    assert time.monotonic() - killed < 20
    assert training.returncode not in (0, None)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in ranks)
    assert arrays(path)["checkpoint"].size  # whole, whenever the rank was killed
