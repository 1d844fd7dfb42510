"""The CPUs that a run gets: places on cores, and quotas of control groups."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.conditions import Workload
from bench.runner import sampler
from bench.runner.candidates import plan
from bench.system import cpus
from bench.system.cpus import LimitedGroup, limited_groups, smallest_quota, throttled_seconds
from bench.workloads.names import default_workloads, parse
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


@pytest.mark.parametrize("threads", [3, 5])
def test_no_core_is_shared_while_one_is_free(topology: dict[int, str], threads: int) -> None:
    for number in range(16):
        place = cpus.places(threads, number)
        assert len(place) == len(set(place)) == threads
        assert len({topology[cpu] for cpu in place}) == min(threads, 4)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_cpu_is_the_first_equally_often(topology: dict[int, str], threads: int) -> None:
    """An implementation on one thread gets the first CPU of a round, however many threads others have."""
    first = [cpus.places(threads, number)[0] for number in range(80)]
    assert {first.count(cpu) for cpu in range(8)} == {10}


def test_uneven_cores(topology: dict[int, str]) -> None:
    """A container may have one hardware thread of one core and both of another."""
    for cpu in (2, 3, 5, 6, 7):
        del topology[cpu]
    assert cpus.siblings() == [[0, 4], [1]]
    assert all(1 in cpus.places(2, number) for number in range(6))
    assert set(cpus.places(3, 0)) == {0, 1, 4}


# --- Which quota holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "expected"),
    [
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


@pytest.mark.parametrize("content", ["", "max 100000", "100000", "1 0", "-1 -1", "a b"])
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
    [(64, None, 64), (64, 2.9, 2), (64, 0.2, 1), (2, 8.0, 2)],
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
        (64, 1.5, "1 core: a CPU quota of 1.5 (control group /sys/fs/cgroup/a)"),
        (1, 1.5, "1 core: its CPU affinity has 1 of 64 CPUs (taskset, docker --cpuset-cpus)"),
    ],
)
def test_what_leaves_so_few_cores_is_said(
    machine: SimpleNamespace, usable: int, quota: float | None, words: str
) -> None:
    machine.usable, machine.quota = usable, quota
    assert cpus.cores_text() == f"this process may use {words}"
    with pytest.raises(UserError, match="needs 2 cores at least; this process may use 1 core"):
        parse("large-all")
    with pytest.raises(UserError, match="; asked for 65 threads, this process may use "):
        parse("784-30-10:10:float64:65")


def test_workers_stay_within_a_quota(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it allows prepare side by side."""
    machine.usable, machine.quota = 8, 2.5
    monkeypatch.setattr(cpus, "core_of", str)
    monkeypatch.setattr(sampler, "usable_cpus", cpus.usable_cpus)
    alone = plan(Workload("alone", (3, 2), 1), [find("in_place"), find("batched_2d")])
    together, waiting = sampler._side_by_side(alone, 0)
    assert ([candidate for candidate, _ in together], waiting) == (alone[:2], alone[2:])
