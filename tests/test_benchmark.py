"""The main job as a user runs it: pytest and `backprop bench` in processes of their own, on small workloads."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.records import Results, Row
from bench.report.text import interval_text, number_text
from bench.results.files import read

ROOT = Path(__file__).parent.parent
FAULTY = ROOT / "tests" / "faulty_rows.py"
QUICK = ("--workload=20-8-4:4", "--generations=2", "--seconds=0.3", "--data=digits")


def run_pytest(*arguments: str, place: str = "bench/", cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run `pytest bench/` from the root of the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", place, "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def results_of(folder: Path) -> Results:
    return read(folder / "results.json")


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.label: row for row in results_of(folder).rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """Return a finished run of some rows, a faulty one among them, and its results folder."""
    folder = tmp_path_factory.mktemp("finished")
    rows = ("--impl=in_place", "--impl=pure_python", f"--impl={FAULTY}:Segfaults")
    storage = f"--benchmark-storage={folder / 'storage'}"
    done = run_pytest("--benchmark-only", *QUICK, *rows, f"--results={folder}", "--benchmark-autosave", storage)
    return done, folder


@pytest.mark.slow("runs benchmarks")
def test_a_run_prints_both_tables_and_the_paths(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, folder = finished
    assert "test_speed[20-8-4:4-in_place]" in done.stdout
    assert "speed-ups over per_example; peak" in " ".join(done.stdout.split())
    files = ["results.json", "speedups.md", "report.html", "speedups.png", "peak.png"]
    for name in files:
        assert str(folder / name) in done.stdout
        assert (folder / name).stat().st_size > 0
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, "storage"])
    assert "generation 2 of 2" in done.stdout  # plain lines where there is no terminal


def test_a_faulty_row_fails_alone(finished: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    done, folder = finished
    assert done.returncode == 1
    assert "4 passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "crashed: the worker ended with SIGSEGV" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "fixture was not used" not in done.stdout
    outcomes = {label: row.outcome for label, row in rows_of(folder).items()}
    assert outcomes == {
        "per_example": "ok",
        "control": "ok",
        "in_place": "ok",
        "pure_python": "ok",
        "Segfaults": "crashed",
    }


def test_the_json_is_pytest_benchmarks_with_ours_in_it(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    _, folder = finished
    content = json.loads((folder / "results.json").read_text())
    by_name = {benchmark["name"]: benchmark for benchmark in content["benchmarks"]}
    rows = {row["label"]: row for row in content["backprop_bench"]["rows"]}
    assert set(by_name) == {f"test_speed[20-8-4:4-{label}]" for label in set(rows) - {"Segfaults"}}
    for label in ("in_place", "per_example", "control"):
        benchmark = by_name[f"test_speed[20-8-4:4-{label}]"]
        samples = [sample for process in rows[label]["processes"] for sample in process["samples"]]
        assert benchmark["stats"]["data"] == pytest.approx([seconds for _, seconds, _ in samples])
        assert benchmark["stats"]["rounds"] == len(samples)
        assert benchmark["params"] == {"workload": "20-8-4:4", "label": label}
        assert benchmark["param"] == f"20-8-4:4-{label}"
        assert benchmark["extra_info"] == {}
        assert benchmark["options"]["timer"] == "backprop_bench_replay"
        assert all(cpu_seconds > 0 for _, _, cpu_seconds in samples)
        assert [process["generation"] for process in rows[label]["processes"]] == [0, 1]
    assert rows["in_place"]["speed_up"]["value"] > 1
    assert rows["in_place"]["percent_of_peak"]["value"] > 0
    machine = content["backprop_bench"]["machine"]
    assert machine["usable_cpus"] == sum(map(len, machine["siblings"])) >= 1
    assert "backprop_bench" not in content["machine_info"]
    assert content["backprop_bench"]["schema"] == 3
    assert content["backprop_bench"]["data"] == "digits"
    # the speed-up can be made again from the paired samples alone
    ratios = []
    for slow, fast in zip(rows["per_example"]["processes"], rows["in_place"]["processes"], strict=True):
        assert [number for number, _, _ in slow["samples"]] == [number for number, _, _ in fast["samples"]]
        quartiles = [np.quantile([seconds for _, seconds, _ in of["samples"]], 0.25) for of in (slow, fast)]
        ratios.append(quartiles[0] / quartiles[1])
    assert rows["in_place"]["speed_up"]["value"] == pytest.approx((ratios[0] * ratios[1]) ** 0.5)


def test_the_stored_file_is_the_same(finished: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    """What pytest-benchmark saves by itself can be plotted and compared, too."""
    _, folder = finished
    (saved,) = (folder / "storage").rglob("*.json")
    assert read(saved) == results_of(folder)


def test_pytest_benchmark_can_compare_runs(finished: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("pytest-benchmark")
    done = subprocess.run(
        [program, f"--storage={folder / 'storage'}", "compare"], capture_output=True, text=True, check=True
    )
    assert "in_place" in done.stdout


@pytest.mark.slow("runs benchmarks")
def test_plots_are_the_same_bytes_when_drawn_again(
    finished: tuple["subprocess.CompletedProcess[str]", Path], tmp_path: Path
) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("backprop")
    subprocess.run([program, "plot", folder / "results.json", "--out", tmp_path], check=True, capture_output=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["peak.png", "speedups.png"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_any_two_rows_of_a_run_can_be_compared(
    finished: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    _, folder = finished
    program = Path(sys.executable).with_name("backprop")
    compare = (program, "compare", folder / "results.json", "per_example")
    done = subprocess.run((*compare, "in_place"), capture_output=True, text=True, check=True)
    speed_up = rows_of(folder)["in_place"].speed_up
    assert speed_up is not None
    value, interval = number_text(speed_up.value), interval_text(speed_up)
    assert interval
    assert f"in_place is {value} times as fast as per_example ({interval})" in done.stdout
    done = subprocess.run((*compare, "no_row"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no workload has both 'per_example' and 'no_row'; timed were: per_example, " in done.stderr


@pytest.mark.slow("runs benchmarks")
def test_a_selection_keeps_the_baseline_and_samples_nothing_else(tmp_path: Path) -> None:
    done = run_pytest("--benchmark-only", *QUICK, "-k", "batched_2d", f"--results={tmp_path}")
    assert done.returncode == 0, done.stdout
    assert set(rows_of(tmp_path)) == {"per_example", "control", "batched_2d"}


@pytest.mark.slow("runs benchmarks")
def test_a_single_test_by_its_name_keeps_the_baseline(tmp_path: Path) -> None:
    place = "bench/test_speed.py::test_speed[20-8-4:4-in_place]"
    done = run_pytest("--benchmark-only", *QUICK, f"--results={tmp_path}", place=place)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "speed-ups over per_example" in done.stdout
    assert_per_example_is_the_baseline(tmp_path, {"per_example", "control", "in_place"})


def assert_per_example_is_the_baseline(folder: Path, labels: set[str]) -> None:
    results = results_of(folder)
    (of,) = results.workloads
    assert of.workload.baseline_label == "per_example"
    rows = {row.label: row for row in results.rows}
    assert set(rows) == labels
    assert rows["per_example"].speed_up is None
    speed_ups = {label: rows[label].speed_up for label in labels - {"per_example"}}
    for label, speed_up in speed_ups.items():
        assert speed_up is not None, label
    control = speed_ups["control"]
    assert control is not None
    assert 0.5 < control.value < 2


SHUFFLES = {
    "reversed": """
def pytest_collection_modifyitems(items):
    items.reverse()
""",
    "reversed last of all": """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    yield
    items.reverse()
""",
}


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("plugin", SHUFFLES.values(), ids=SHUFFLES)
def test_the_order_of_the_tests_does_not_change_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    (tmp_path / "shuffles_tests.py").write_text(plugin)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rows = ("--impl=in_place", "--impl=batched_2d", f"--results={tmp_path / 'out'}")
    done = run_pytest("--benchmark-only", *QUICK, *rows, "-p", "shuffles_tests", "-v")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    ran = re.findall(r"^bench/test_speed\.py::test_speed\[20-8-4:4-(\w+)\]", done.stdout, re.MULTILINE)
    assert set(ran) == {"per_example", "control", "in_place", "batched_2d"}
    if "wrapper" in plugin:
        assert ran[-1] == "per_example"
    assert_per_example_is_the_baseline(tmp_path / "out", set(ran))


@pytest.mark.slow("runs benchmarks")
def test_a_run_without_a_folder_leaves_the_checkout_as_it_was(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    git = ("git", "status", "--porcelain", "--untracked-files=all")
    before = subprocess.check_output(git, cwd=ROOT)
    done = run_pytest("--benchmark-only", *QUICK, "--impl=in_place", place=str(ROOT / "bench"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert subprocess.check_output(git, cwd=ROOT) == before
    results = tmp_path / "results"
    (folder,) = (results / "runs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}", folder.name)
    assert f"results: results/runs/{folder.name}/results.json" in done.stdout
    names = {"speedups.md", "report.html", "speedups.png", "peak.png"}
    assert {path.name for path in folder.iterdir()} == names | {"results.json"}
    assert {path.name for path in results.iterdir()} == names | {"latest.json", "runs"}
    for name in names:
        assert (results / name).read_bytes() == (folder / name).read_bytes()
    assert (results / "latest.json").read_bytes() == (folder / "results.json").read_bytes()
    program = Path(sys.executable).with_name("backprop")
    compare = (program, "compare", "per_example", "in_place")
    assert "in_place is " in subprocess.run(compare, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_a_run_in_the_checkout_is_not_under_version_control() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    made = ["results/latest.json", "results/speedups.png", "results/runs/2026-01-31-120000/results.json"]
    ignored = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ignored.stdout.splitlines() == made
    kept = ["results/notes/new.md", "results/reference/default/results.json"]
    assert subprocess.run(["git", "check-ignore", *kept], cwd=ROOT, capture_output=True, check=False).returncode == 1


def test_tests_and_benchmark_can_be_collected_together(tmp_path: Path) -> None:
    done = run_pytest("--collect-only", "-q", *QUICK, f"--results={tmp_path / 'out'}", "tests/test_workloads.py")
    assert done.returncode == 0, done.stdout
    assert "bench/test_speed.py::test_speed[20-8-4:4-in_place]" in done.stdout
    assert "tests/test_workloads.py::test_an_unknown_sweep" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow("runs benchmarks")
def test_disabled_checks_each_row_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    wrong = f"--impl={FAULTY}:Wrong"
    done = run_pytest("--benchmark-disable", *QUICK, "--impl=in_place", wrong, f"--results={folder}")
    assert done.returncode == 1
    assert "3 passed" in done.stdout
    assert "wrong: every weight gradient is 2 times too small" in done.stdout
    assert not folder.exists()


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_run_keeps_what_was_finished(tmp_path: Path, end: str) -> None:
    long = ("--workload=20-8-4:4", "--impl=in_place", "--generations=50", "--seconds=25", "--data=digits")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", "bench/", "--benchmark-only", *long, f"--results={tmp_path}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = ""
    while "generation 4 of 50" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    workers: list[int] = []
    while len(workers) < 5:
        assert process.poll() is None
        time.sleep(0.01)
        workers = workers_of(process.pid)
    process.send_signal(getattr(signal, end))
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "the run was interrupted" in rest
    assert "Traceback" not in rest
    assert results_of(tmp_path).interrupted
    in_place = rows_of(tmp_path)["in_place"]
    assert 3 <= len(in_place.processes) <= 6
    assert in_place.speed_up is not None
    assert (in_place.speed_up.low or 0) > 0
    assert len(workers) == 5  # baseline, control, row, peak, reference rate
    deadline = time.monotonic() + 5.0
    while left := [worker for worker in workers if Path(f"/proc/{worker}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def workers_of(parent: int) -> list[int]:
    """Return the ids of the workers that a process has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
            started_by = (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if "bench.measurement.worker" in command and started_by == str(parent):
            found.append(int(process.name))
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workload=bok",), "unknown workload 'bok'; did you mean book?"),
        (("--workload=784-0-10",), "layer size must be a whole number"),
        (("--impl=in_plac",), "unknown implementation 'in_plac'; did you mean in_place?"),
        (("--impl=none.py:Row",), "there is no file none.py"),
        (("--impl=a=in_place", "--impl=a=batched_2d"), "two rows would be called 'a': 2-D without temporaries, BLAS"),
        (("--impl=control=in_place",), "'control' is a row of the benchmark's own; name yours: mine=in_place"),
        (("--impl=peak=in_place",), "'peak' is a row of the benchmark's own; name yours: mine=in_place"),
        (("--sweep=bach",), "unknown sweep 'bach'"),
        (("--generations=0",), "--generations: expected a whole number of at least 1 and at most 1000000, found '0'"),
        (("--generations=1.5",), "--generations: expected a whole number"),
        (("--seconds=-1",), "--seconds: expected a positive number and at most 1000000, found '-1'"),
        (("--seconds=soon",), "--seconds: expected a positive number and at most 1000000, found 'soon'"),
        (("--seconds=1e308",), "--seconds: expected a positive number and at most 1000000, found '1e308'"),
        (("--time-out=1e10",), "--time-out: expected a positive number and at most 1000000, found '1e10'"),
        (("--time-out=nan",), "--time-out: expected a positive number and at most 1000000, found 'nan'"),
        (("--most-seconds=inf",), "--most-seconds: expected a positive number and at most 1000000, found 'inf'"),
        (("--generations=٣",), "--generations: expected a whole number of at least 1 and at most 1000000, found '٣'"),
        (("--generations=1_0",), "--generations: expected a whole number"),
        (("--precision=nan%",), "--precision: expected per cent such as 1% or 0.5%, found 'nan%'"),
        (("--results=",), "--results=: expected something after the =, found nothing"),
        (("--against=",), "--against=: expected something after the =, found nothing"),
        (("--impl=two\nlines\x1b[31m=in_place",), "two lines\ufffd[31m=in_place: expected a name of up to 40 letters"),
        (("--data=/no/such/folder",), "/no/such/folder"),
        (("--results=/dev/null/results",), "/dev/null/results: cannot be written to: Not a directory; choose another"),
        (
            ("--results=/proc/results",),
            "/proc/results: cannot be written to: No such file or directory; choose another",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_runs(arguments: tuple[str, ...], words: str) -> None:
    done = run_pytest("--benchmark-only", *QUICK[1:3], *arguments)
    assert done.returncode == 4
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout
