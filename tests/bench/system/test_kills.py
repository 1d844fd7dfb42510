"""kill -9 of each process of a run at a random moment: all of its processes end, and none of its files stay.

The next run of the same command, to the same folder, works.

`BACKPROP_KILLS=50 pytest tests/bench/system/test_kills.py` kills each so often; without it, once.
"""

import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from processes import kill, of_run, wait_for
from required import needs, skip

from bench.analysis.results_files import read
from impls import ROOT
from impls.registry import ENTRIES
from profiles.recorder import NotPermitted

BACKPROP = Path(sys.executable).with_name("backprop")
SECONDS = 5.0  # that everything has to end
SHARED_MEMORY = Path("/dev/shm")
SMALL = ("--workload=20-8-4:16:float64:2", "--impl=in_place", "--generations=1", "--seconds=1", "--data=digits")
BENCH = ("bench", *SMALL)
MPI = ("bench", *SMALL, "--impl=mpi")
AGAINST = (*BENCH, f"--against={ROOT}")
VERIFY = ("verify", "in_place", "--seed=1", "--examples=100000", "--seconds=60")
PROFILE = ("profile", "in_place", "--workload=20-8-4:16", "--seconds=2")
AGAIN = {"bench": "--seconds=0.1", "verify": "--examples=0", "profile": "--seconds=1"}  # overrides what was killed
WRITERS = {"the run", "a run against a folder", "a verification", "the profiler"}  # they write the files of a run
VICTIMS: dict[str, tuple[tuple[str, ...], Callable[[list[str]], bool]]] = {
    "the run": (MPI, lambda command: "bench" in command),
    "a worker": (BENCH, lambda command: "bench.worker.main" in command),
    "a launcher": (MPI, lambda command: "bench.runner.launch" in command),
    "mpiexec": (MPI, lambda command: Path(command[0]).name in {"mpiexec", "prterun", "mpiexec.hydra"}),
    "a rank": (MPI, lambda command: "bench.worker.ranks" in command and "-n" not in command),
    "a run against a folder": (AGAINST, lambda command: "bench" in command),
    "a verification": (VERIFY, lambda command: "verify" in command),
    "the profiler": (PROFILE, lambda command: "profile" in command),
    "py-spy": (PROFILE, lambda command: Path(command[0]).name == "py-spy"),
}
MPI_NEEDED = needs("mpi", ENTRIES["mpi"].unavailable())
CASES = [pytest.param(name, marks=[MPI_NEEDED] * (of == MPI)) for name, (of, _) in VICTIMS.items()]


def orphans() -> set[Path]:
    """What a process that has ended left in shared memory; other tests' runs beside this one still need theirs."""
    paths = SHARED_MEMORY.glob("backprop-bench-*")
    return {path for path in paths if not psutil.pid_exists(int(path.name.split("-")[2]))}


def assert_no_left_overs(out: Path, half_written: int, temporary: Path, before: set[Path]) -> None:
    """Assert that temporary files are gone and that files in `out` are whole, but for so many with hidden names."""
    assert [path.name for path in temporary.iterdir()] == []
    assert wait_for(lambda: orphans() <= before, SECONDS), orphans() - before
    hidden = [path.name for path in out.glob(".*")]
    assert len(hidden) <= half_written, hidden
    for results in out.glob("results.json"):
        read(results)


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("number", range(int(os.environ.get("BACKPROP_KILLS", "1"))))
@pytest.mark.parametrize("name", CASES)
def test_whatever_is_killed_nothing_stays(name: str, number: int, tmp_path: Path) -> None:
    arguments, is_victim = VICTIMS[name]
    mark, out, temporary = uuid.uuid4().hex, tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    before = orphans()
    option = {"bench": [f"--results={out}"], "profile": [f"--out={out}"]}.get(arguments[0], [])
    environment = os.environ | {"BACKPROP_MARK": mark, "TMPDIR": str(temporary)}
    run = subprocess.Popen(
        [BACKPROP, *arguments, *option],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def victims() -> list[psutil.Process]:
        return [process for process, command in of_run(mark) if is_victim(command)]

    try:
        assert wait_for(lambda: victims() or run.poll() is not None, 60)
        time.sleep(random.Random(f"{name} {number}").uniform(0, 2.5))
        if there := victims():
            kill(there[-1])
        run.wait(60)
        if run.returncode == NotPermitted.exit_status:
            skip("profile", "py-spy may not attach here")
        assert wait_for(lambda: not of_run(mark), SECONDS), [command for _, command in of_run(mark)]
    finally:
        for process, _ in of_run(mark):
            kill(process)
        run.wait()
    half_written = 1 if name in WRITERS else 0  # at most: by a kill in the very act of writing
    assert_no_left_overs(out, half_written, temporary, before)
    again = subprocess.run(
        [BACKPROP, *arguments, AGAIN[arguments[0]], *option],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert_no_left_overs(out, half_written, temporary, before)
    if arguments[0] == "bench":
        assert read(out / "results.json").settings.workload_seconds == 0.1
    elif arguments[0] == "profile":
        assert list(out.glob("*.svg"))
