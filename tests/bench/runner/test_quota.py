"""What a CPU quota does to samples: one that it stopped is taken again, and a run says so."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import required
from sampling import taken

from bench.conditions import Settings, Workload
from bench.records import Process
from bench.runner import rounds
from bench.runner.candidates import plan
from bench.runner.rounds import RETAKES, Rounds
from bench.system.cpus import LimitedGroup, control_groups
from bench.worker.protocol import Arrange, Arranged, Calibration, Take, Taken
from impls import ROOT


class StoppedWorker:
    """A worker whose first samples are each stopped for a while by the quota of a group."""

    pid = 0

    def __init__(self, group: Path, stops_ns: list[int]) -> None:
        self.taken = 0
        self._stat, self._stops_ns, self._throttled_ns = group / "cpu.stat", stops_ns, 0
        self._stat.write_text("throttled_time 0\n")

    def confine(self, *_: Any, **__: Any) -> None:
        pass

    def ask(self, request: Arrange | Take, _expected: type[Any]) -> Arranged | Taken:
        """Take a sample of 5 ms, whose calls tell which one it is."""
        if isinstance(request, Arrange):
            self._throttled_ns += 1_000_000_000  # before the sample: no matter
        else:
            self._throttled_ns += self._stops_ns[self.taken] if self.taken < len(self._stops_ns) else 0
            self.taken += 1
        self._stat.write_text(f"throttled_time {self._throttled_ns}\n")
        return Arranged() if isinstance(request, Arrange) else taken(calls=self.taken)


SHORT_NS, LONG_NS = 40_000, 60_000  # below and above one per cent of a sample


@pytest.mark.parametrize(
    ("stops_ns", "kept", "throttled"),
    [
        ([], 1, 0),
        ([LONG_NS, LONG_NS, SHORT_NS], 3, 0),
        ([LONG_NS] * 10, 1 + RETAKES, 1),
    ],
)
def test_a_sample_that_a_quota_stopped_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_ns: list[int], kept: int, throttled: int
) -> None:
    """It stays one sample, of the same round; the wait is one period of the quota."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(rounds, "limited_groups", lambda: [LimitedGroup(tmp_path, 0.5, 0.1)])
    workload = Workload("small", (3, 2), 1)
    candidate = plan(workload, [])[0]
    candidate.calibration = Calibration(1, 0.005)
    candidate.row.processes.append(Process(0, 1))
    problem: Any = SimpleNamespace(workload=workload)
    worker: Any = StoppedWorker(tmp_path, stops_ns)
    candidate.worker = worker
    Rounds(problem, [candidate], Settings(), 0, tmp_path)._round(7, [candidate], compared=False)
    (sample,) = candidate.process.samples
    assert (sample.round, sample.seconds, worker.taken) == (7, 0.005 / kept, kept)
    assert candidate.row.throttled_samples == throttled
    assert waits == [0.1] * (kept - 1)


# --- A real quota ------------------------------------------------------------------------------------------------


@contextmanager
def group_with_quota(quota_us: int, period_us: int) -> Iterator[Path]:
    """Give the folder of a control group with a CPU quota, or skip the test. It comes first where CPUs are scarce."""
    for parent in reversed(control_groups()):  # the outermost one of a version is the one that may have others in it
        folder = parent / f"backprop-test-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if limit(folder, quota_us, period_us):
                yield folder
                return
        finally:
            remove(folder)
    required.skip("quota", "no control group with a CPU quota can be made here")


def limit(folder: Path, quota_us: int, period_us: int) -> bool:
    """Give a control group a CPU quota; return whether that is possible."""
    files = {"cpu.cfs_period_us": str(period_us), "cpu.cfs_quota_us": str(quota_us), "cpu.shares": "262144"}
    if (folder / "cpu.max").exists():
        files = {"cpu.max": f"{quota_us} {period_us}", "cpu.weight": "10000"}
    try:
        for name, content in files.items():
            (folder / name).write_text(content)
    except OSError:
        return False
    return True


def remove(folder: Path) -> None:
    """Remove a control group, once the last of its processes is gone."""
    for _ in range(100):
        try:
            return folder.rmdir()
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{folder} has processes left: {(folder / 'cgroup.procs').read_text().split()}")


def run_in(group: Path, program: str) -> Any:
    """Return what a Python program prints as JSON that runs in a control group."""
    join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    command = ["sh", "-c", join, str(group), sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


MEASURE = """
import io, json, sys
from rich.console import Console
from bench.system.cpus import cores
from bench.conditions import Settings
from bench.run import Asked, Run
settings = Settings(generations=1, workload_seconds=0.1)
run = Run(Asked(implementations=("in_place",), workloads=("20-8-4:16",), data="digits", settings=settings))
run.select([("20-8-4:16", "in_place")])
results = run.sample(Console(file=io.StringIO()))
run.close()
outcomes, notes = [row.outcome for row in results.rows], list(map(str, results.notes))
print(json.dumps([cores(), results.throttled_seconds, outcomes, notes]))
"""


@pytest.mark.slow("runs a benchmark")
def test_a_run_that_a_real_quota_stops_says_so() -> None:
    """A sample takes 5 ms, and no two periods together allow more: it is stopped, however often it is taken."""
    with group_with_quota(2_500, 10_000) as group:
        cores, seconds, outcomes, notes = run_in(group, MEASURE)
    assert cores == 1
    assert seconds > 0
    assert outcomes == ["ok"] * 3
    assert any(note.startswith("the CPU quota stopped processes for ") for note in notes), notes
    stopped = "20-8-4:16: the CPU quota stopped per_example, control, in_place in more than 1 % of the samples, "
    assert any(note.startswith(stopped) for note in notes), notes
