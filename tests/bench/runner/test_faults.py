"""Faults around a run: what is missing, taken away, full, closed or in the way costs as little as it can."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from rich.console import Console
from sampling import by_label, sample

from bench.analysis.results_files import read
from bench.analysis.summary import summarise
from bench.cli import bench as bench_command
from bench.conditions import Settings
from bench.output.page.page import page
from bench.records import Outcome
from bench.run import Asked, Run
from bench.runner import worker_environment
from bench.runner.candidates import RateWorkers
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.system import leftovers
from bench.worker.protocol import AnyRequest, PrepareRate, Reply, Take
from bench.workloads.names import parse
from impls.support import needs
from impls.support.errors import UserError

BACKPROP = Path(sys.executable).with_name("backprop")
WORKLOAD = "4-3-2:2"
QUICK = (f"--workload={WORKLOAD}", "--impl=in_place", "--generations=1", "--seconds=0.1", "--data=digits")
FILES = {"results.json", "speedups.md", "speedups.png", "peak.png", "report.html"}
Done = subprocess.CompletedProcess[str]


def bench(folder: Path, *options: str, before: str = "", environment: Mapping[str, str] | None = None) -> Done:
    """Run `backprop bench` in a shell, after what it is told `before`; options may redirect."""
    command = f"{before} {BACKPROP} bench {' '.join(QUICK)} '--results={folder}' {' '.join(options)}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        env=os.environ | (environment or {}),
        timeout=120,
        check=False,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- Missing -----------------------------------------------------------------------------------------------------


@pytest.mark.slow("runs benchmarks")
def test_without_matplotlib_there_are_no_pictures_and_everything_else(tmp_path: Path) -> None:
    """One that breaks only when it is imported: at the end of the run."""
    broken = tmp_path / "broken" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libpng is missing')")
    path = os.pathsep.join(filter(None, (str(broken.parent), os.environ.get("PYTHONPATH"))))
    done = bench(tmp_path / "out", environment={"PYTHONPATH": path})
    assert names(tmp_path / "out") == {"results.json", "speedups.md"}
    error = "error: ImportError: libpng is missing (matplotlib/__init__.py:1); try again: backprop plot "
    assert error in done.stdout
    assert f"results: {tmp_path}/out/results.json" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR


def test_a_reference_rate_that_is_lost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = WorkerProcess.ask
    requests: dict[WorkerProcess, list[AnyRequest]] = {}

    def answer(self: WorkerProcess, request: AnyRequest, expected: type[Reply]) -> Reply:
        asked = requests.setdefault(self, [])
        asked.append(request)
        rate = next((request for request in asked if isinstance(request, PrepareRate)), None)
        if rate and rate.kind == "reference" and asked.count(Take()) == 2:
            raise WorkerFailed(Outcome.CRASHED, "the worker ended with SIGKILL")
        return ask(self, request, expected)

    monkeypatch.setattr(WorkerProcess, "ask", answer)
    results = sampled(tmp_path).results
    assert results is not None
    assert "no reference rate: the worker ended with SIGKILL" in map(str, results.notes)
    assert results.workloads[0].peak is not None
    assert results.workloads[0].reference is None
    assert {row.outcome for row in results.rows} == {"ok"}


def test_memory_rates_that_cannot_be_measured_cost_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_threads: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr("bench.run.memory_rates", fail)
    results = sampled(tmp_path).results
    assert results is not None
    assert {row.outcome for row in results.rows} == {"ok"}
    assert any(note.text.startswith("no memory rates: MemoryError: ") for note in results.notes)
    assert page(results, [])


@pytest.mark.slow("runs benchmarks")
def test_a_full_disk_costs_only_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sampled(tmp_path)

    def full(path: Path, _content: bytes) -> None:
        raise UserError(f"{path}: cannot be written: No space left on device; choose another place")

    monkeypatch.setattr("bench.output.plots.drawing.write_whole", full)
    lines = list(run.write({}))
    assert run.failed
    assert [line.partition(":")[0] for line in lines] == ["results", "table", "error", "report"]
    assert lines[2].startswith(f"error: {tmp_path}/speedups.png: cannot be written: No space left")
    assert {"results.json", "speedups.md", "report.html"} <= names(tmp_path)


def run_of(folder: Path) -> Run:
    """Return a short run whose samples are not yet taken."""
    settings = Settings(generations=1, workload_seconds=0.1)
    run = Run(Asked(("in_place",), workloads=(WORKLOAD,), data="digits", folder=folder, settings=settings))
    run.select([(parse(WORKLOAD).name, "in_place")])
    return run


def sampled(folder: Path) -> Run:
    """Return a short run whose samples are taken."""
    run = run_of(folder)
    try:
        with (folder / "said").open("w") as said:
            run.sample(Console(file=said))
    finally:
        run.close()
    return run


# --- In the way --------------------------------------------------------------------------------------------------


def test_a_checkout_in_a_path_that_pytest_misreads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["bench.cli.bench"], "BENCH", Path("/home/me/my [x] checkout/bench"))
    with pytest.raises(UserError, match="move the checkout elsewhere"):
        bench_command.bench.main([], standalone_mode=False)


DRIVERS = {  # of NVIDIA, as C, and whether there is a GPU
    "int nothing;": False,
    "int cuInit(int x) { for (;;) {} }": False,
    "#include <stdlib.h>\nint cuInit(int x) { abort(); }": False,
    "int cuInit(int x) { return 0; }\nint cuDeviceGetCount(int *n) { *n = 0; return 0; }": False,
    "int cuInit(int x) { return 0; }\nint cuDeviceGetCount(int *n) { *n = 1; return 0; }": True,
}


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
@pytest.mark.parametrize("driver", DRIVERS, ids=["empty", "hangs", "aborts", "no GPU", "a GPU"])
def test_whatever_the_gpus_driver_does(driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "driver.c"
    source.write_text(driver)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(needs, "DRIVER_SECONDS", 1.0)
    assert (needs.no_gpu.__wrapped__() is None) == DRIVERS[driver]


# --- Taken away --------------------------------------------------------------------------------------------------


@pytest.mark.slow("runs benchmarks")
def test_however_often_a_run_is_interrupted_it_keeps_what_was_finished(tmp_path: Path) -> None:
    command = [str(BACKPROP), "bench", *QUICK[:2], "--generations=30", "--seconds=30", f"--results={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while "process 3" not in (line := process.stdout.readline()):
            assert line
        for number in 10 * (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            time.sleep(0.02)
        process.communicate(timeout=60)
    found = read(tmp_path / "results.json")
    assert found.interrupted
    row = found.row("4-3-2:2", "in_place")
    assert row is not None
    assert row.timed


@pytest.mark.parametrize("place", ["bench.run.summarise", "bench.runner.sampler.RateWorkers.close"])
def test_an_interrupt_after_the_last_sample_loses_nothing(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one, while the results are being made or workers are stopped."""
    usual: Any = {"summarise": summarise, "close": RateWorkers.close}[place.rpartition(".")[2]]

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return usual(*arguments)

    monkeypatch.setattr(place, interrupted)
    try:
        run = sampled(tmp_path)
    except KeyboardInterrupt:
        pytest.fail("the interrupt ended the run, and its samples are lost")
    assert run.results is not None
    assert not run.results.interrupted  # all samples are there
    assert {row.outcome for row in run.results.rows} == {"ok"}


def test_a_process_that_cannot_be_started_costs_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    leftovers.new_mark(), worker_environment.folders()  # so that what they start once a process does not count
    start, started = subprocess.Popen, 0

    def refuse(*arguments: Any, **keywords: Any) -> subprocess.Popen[bytes]:
        nonlocal started
        started += 1
        if started in (2, 4):  # the second row, and the first of the rates
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return start(*arguments, **keywords)

    monkeypatch.setattr("bench.runner.process.subprocess.Popen", refuse)
    finished = sample(["in_place"])
    reason = "its process cannot be started: Resource temporarily unavailable"
    assert finished.failure == ""
    ended = sorted((row.outcome, row.reason) for row in by_label(finished).values())
    assert ended == [("crashed", reason), ("ok", ""), ("ok", "")]
    assert finished.rate("small", "peak") == reason


# --- Full, closed ------------------------------------------------------------------------------------------------

OUTPUTS = {
    "a reader that leaves": ("", "| head -1"),
    "full": ("", "> /dev/full 2>&1"),
    "all closed": ("", "<&- >&- 2>&-"),
    "ASCII": ("export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii:strict;", ""),
}


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("output", OUTPUTS)
def test_results_are_written_wherever_the_output_goes(tmp_path: Path, output: str) -> None:
    before, options = OUTPUTS[output]
    done = bench(tmp_path / "out", options, before=before)
    assert names(tmp_path / "out") == FILES
    assert "Traceback" not in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert done.returncode == (output == "full")  # of head, of true, and of the benchmark
