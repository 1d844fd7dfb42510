"""The CPUs that a run gets: places on cores, quotas of control groups, and what a quota does to samples."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import required
from sampling import taken

from bench.output.text import cpus_text
from bench.records import Machine, Outcome, Process, Settings, Workload
from bench.runner import candidates, rounds, sampler
from bench.runner.candidates import plan
from bench.runner.process import WorkerFailed
from bench.runner.rounds import RETAKES, Rounds
from bench.system import cpus
from bench.system.cpus import LimitedGroup, control_groups, limited_groups, smallest_quota, throttled_seconds
from bench.worker.protocol import Arrange, Arranged, Calibration, Take, Taken
from bench.workloads.names import default_workloads, parse
from impls import ROOT
from impls.registry import find
from impls.support.errors import UserError

VERSION_1, VERSION_2 = "cgroup cgroup rw,cpu,cpuacct", "cgroup2 cgroup2 rw,nsdelegate"


def made_up(folder: Path, cgroup: str, mounts: Mapping[str, str], files: Mapping[str, str]) -> Path:
    """Return a process's folder of /proc in `folder`: its groups, the file systems by `ROOT MOUNT`, and their files."""
    process = folder / "proc"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(cgroup)
    lines = ["21 1 0:20 / / rw,relatime - ext4 /dev/vda rw"]
    for places, file_system in mounts.items():
        root, _, mount = places.partition(" ")
        lines.append(f"30 21 0:28 {root} {folder}/{mount} rw,nosuid shared:4 - {file_system}")
    (process / "mountinfo").write_text("\n".join(lines) + "\n")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return process


def of_version_1(group: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{group}/cpu.cfs_quota_us": str(quota), f"{group}/cpu.cfs_period_us": str(period)}


# --- Places on cores ---------------------------------------------------------------------------------------------


@pytest.fixture
def topology(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """Return a machine of four cores with two hardware threads each, to be changed: the name of the core by CPU."""
    machine = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    monkeypatch.setattr(cpus, "core_of", lambda cpu: machine[cpu])
    monkeypatch.setattr(cpus, "usable_cpus", lambda: sorted(machine))
    return machine


def test_siblings_are_known(topology: dict[int, str]) -> None:
    assert cpus.siblings() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    del topology[0], topology[5]
    assert cpus.siblings() == [[1], [2, 6], [3, 7], [4]]


@pytest.mark.parametrize("threads", [1, 3, 5, 8])
def test_no_core_is_shared_while_one_is_free(topology: dict[int, str], threads: int) -> None:
    for number in range(16):
        place = cpus.places(threads, number)
        assert len(place) == len(set(place)) == threads
        assert len({topology[cpu] for cpu in place}) == min(threads, 4)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_every_one_core_row_visits_every_cpu(topology: dict[int, str], threads: int) -> None:
    """It gets the first of the CPUs of each round, however many threads other rows have; all equally often."""
    first = [cpus.places(threads, number)[0] for number in range(80)]
    assert {first.count(cpu) for cpu in range(8)} == {10}


def test_uneven_cores(topology: dict[int, str]) -> None:
    """A container may have one hardware thread of one core and both of another."""
    for cpu in (2, 3, 5, 6, 7):
        del topology[cpu]
    assert cpus.siblings() == [[0, 4], [1]]
    for number in range(6):
        place = cpus.places(2, number)
        assert 1 in place
    assert set(cpus.places(3, 0)) == {0, 1, 4}


@pytest.mark.parametrize(
    ("usable", "siblings", "text"),
    [
        (2, [[0], [1]], "2 CPUs"),
        (4, [[0, 2], [1, 3]], "4 CPUs on 2 cores"),
        (2, [[0, 1]], "2 CPUs on 1 core"),
    ],
)
def test_shared_cores_and_quotas_are_said(usable: int, siblings: list[list[int]], text: str) -> None:
    assert cpus_text(Machine(usable_cpus=usable, siblings=siblings)) == text
    limited = Machine(usable_cpus=usable, siblings=siblings, cpu_quota=1.5)
    assert cpus_text(limited) == f"{text}, CPU quota 1.50"


# --- Which quota holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "expected"),
    [
        pytest.param("0::/a", {"/ fs": VERSION_2}, {"fs/a/cpu.max": "max 100000"}, {}, id="no quota"),
        pytest.param(
            "5:memory:/m\n4:cpu,cpuacct:/a/b\n1:name=systemd:/c",
            {"/ memory": "cgroup cgroup rw,memory", "/ cpu": VERSION_1},
            of_version_1("cpu/a/b", 50_000) | of_version_1("cpu", -1),
            {"cpu/a/b": 0.5},
            id="version 1",
        ),
        pytest.param(
            "0::/a/b/c",
            {"/ fs": VERSION_2},
            {"fs/a/b/c/cpu.max": "400000 100000", "fs/a/b/cpu.max": "max 100000", "fs/a/cpu.max": "20000 10000"},
            {"fs/a/b/c": 4.0, "fs/a": 2.0},
            id="version 2, nested",
        ),
        pytest.param(
            "1:cpu:/a\n0::/b",
            {"/ cpu": VERSION_1, "/ unified": VERSION_2},
            of_version_1("cpu/a", 300_000) | {"unified/b/cgroup.procs": "1"},
            {"cpu/a": 3.0},
            id="both versions",
        ),
        pytest.param(
            "4:cpu:/docker/0123",
            {"/docker/0123 cpu": VERSION_1},
            of_version_1("cpu", 200_000),
            {"cpu": 2.0},
            id="only the own group is mounted",
        ),
        pytest.param(
            "0::/../other",
            {"/ fs": VERSION_2},
            {"fs/cpu.max": "10000 10000", "other/cpu.max": "1 9"},
            {"fs": 1.0},
            id="group outside of the namespace",
        ),
        pytest.param(
            "0::/a:b",
            {r"/ my\040fs": VERSION_2},
            {"my fs/a:b/cpu.max": "10000 10000"},
            {"my fs/a:b": 1.0},
            id="odd letters",
        ),
    ],
)
def test_quotas_of_the_own_group_and_of_those_around_it(
    tmp_path: Path, cgroup: str, mounts: dict[str, str], files: dict[str, str], expected: dict[str, float]
) -> None:
    process = made_up(tmp_path, cgroup, mounts, files)
    quotas = {str(group.folder.relative_to(tmp_path)): group.cpus for group in limited_groups(process)}
    assert quotas == expected
    smallest = smallest_quota(process)
    assert (smallest.cpus if smallest else None) == min(expected.values(), default=None)


@pytest.mark.parametrize("content", ["", "max", "100000", "0 100000", "1 0", "-1 -1", "a b"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    assert limited_groups(tmp_path / "nothing") == []
    assert limited_groups(made_up(tmp_path, "0::/", {"/ fs": VERSION_2}, {"fs/cpu.max": content})) == []


def test_throttled_time_of_both_versions_is_added_up_in_seconds(tmp_path: Path) -> None:
    groups = [LimitedGroup(tmp_path / "gone", 1.0, 0.1)]
    for number, content in enumerate(("nr_periods 9\nthrottled_time 1500000000", "throttled_usec 250000", "a")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cpu.stat").write_text(content)
        groups.append(LimitedGroup(tmp_path / str(number), 1.0, 0.1))
    assert throttled_seconds(groups) == pytest.approx(1.75)


# --- How many cores it leaves ------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a machine of 64 CPUs, to be changed: how many of them may be used, and a quota."""
    machine = SimpleNamespace(usable=64, quota=None)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(cpus, "usable_cpus", lambda: list(range(machine.usable)))
    monkeypatch.setattr(
        cpus,
        "smallest_quota",
        lambda: machine.quota and LimitedGroup(Path("/sys/fs/cgroup/a"), machine.quota, 0.1),
    )
    return machine


@pytest.mark.parametrize(
    ("usable", "quota", "expected"),
    [(64, None, 64), (64, 2.9, 2), (64, 0.2, 1), (2, 8.0, 2), (1, None, 1)],
)
def test_cores_are_those_of_affinity_and_quota(
    machine: SimpleNamespace, usable: int, quota: float | None, expected: int
) -> None:
    machine.usable, machine.quota = usable, quota
    assert cpus.cores() == expected
    workload = default_workloads().get("large-all")
    assert (workload.threads if workload else 1) == expected


@pytest.mark.parametrize(
    ("usable", "quota", "words"),
    [
        (64, None, "64 cores, all that this machine has"),
        (64, 1.5, "1 core: a CPU quota of 1.5 (control group /sys/fs/cgroup/a)"),
        (1, 1.5, "1 core: its CPU affinity has 1 of 64 CPUs (taskset, docker --cpuset-cpus)"),
    ],
)
def test_what_leaves_so_few_cores_is_said(
    machine: SimpleNamespace, usable: int, quota: float | None, words: str
) -> None:
    machine.usable, machine.quota = usable, quota
    assert cpus.cores_text() == f"this process may use {words}"
    if cpus.cores() == 1:
        with pytest.raises(UserError, match="needs 2 cores at least; this process may use 1 core"):
            parse("large-all")
    with pytest.raises(UserError, match="; asked for 65 threads, this process may use "):
        parse("784-30-10:10:float64:65")


def test_workers_stay_within_a_quota(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it allows prepare side by side, and what asks the system for its CPUs finds no more of them."""
    machine.usable, machine.quota = 8, 2.5
    monkeypatch.setattr(cpus, "core_of", str)
    monkeypatch.setattr(sampler, "usable_cpus", cpus.usable_cpus)
    alone = plan(Workload("alone", (3, 2), 1), [find("in_place"), find("batched_2d")])
    together, waiting = sampler._side_by_side(alone, 0)
    assert ([candidate for candidate, _ in together], waiting) == (alone[:2], alone[2:])

    places: list[list[int]] = []

    def start(_threads: int, place: list[int], *_: Any, **__: Any) -> None:
        places.append(place)
        raise WorkerFailed(Outcome.CRASHED, "not today")

    monkeypatch.setattr(sampler, "WorkerProcess", start)
    monkeypatch.setattr(candidates, "WorkerProcess", start)
    both = {"both": plan(Workload("both", (3, 2), 1, threads=2, baseline="batched_2d"), [find("in_place")])}
    sampler.Sampler(both, Settings(), (np.zeros((1, 3)), np.zeros((1, 2))), print)._start_workers(both["both"], 5)
    candidates.RateWorkers(both, Settings()).ready(both["both"][0].workload, 5)
    assert places == [[5], [6], [5, 6], [5, 6], [5, 6]]


# --- What it does to samples -------------------------------------------------------------------------------------


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
from bench.records import Settings
from bench.run import Asked, Run
settings = Settings(generations=1, workload_seconds=0.1)
run = Run(Asked(implementations=("in_place",), workloads=("20-8-4:16",), data="digits", settings=settings))
run.select([("20-8-4:16", "in_place")])
results = run.sample(Console(file=io.StringIO()))
run.close()
print(json.dumps([cores(), results.throttled_seconds, [row.outcome for row in results.rows], results.notes]))
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
