"""Scaling over ranks: the model's formulas, the command, and what it writes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from made_up_scaling import EXACT, SLOW, made_up
from required import needs

from bench.analysis.scaling import FABRICS, compute_of, fabric_between, read
from bench.cli import scale
from bench.cli.scale import Job, run_job, run_jobs, scaling_of
from bench.output.plots.curves import scaling_beyond, scaling_here
from bench.output.scaling_table import lines, predicted_cells
from bench.records import Estimate
from bench.worker.scaling_job import JobTimes, Task
from impls import ROOT
from impls.registry import ENTRIES
from impls.support.errors import UserError
from impls.support.loading import Target

Backprop = Callable[..., tuple[int, str, str]]
needs_mpi = needs("mpi", ENTRIES["mpi"].unavailable())
TASK = Task(ENTRIES["mpi"].target, (6, 5, 4), 8, "float64", 0.05)


def test_allreduce_is_the_papers() -> None:
    """Two ranks: the ring sends half of the buffer twice. Many: levels of a tree, up and down."""
    assert SLOW.allreduce_seconds(1, 1000) == 0
    assert SLOW.allreduce_seconds(2, 1_000_000) == pytest.approx(2 * 1e-5 + 1e-3)
    assert SLOW.allreduce_seconds(1024, 1000) == pytest.approx(20 * (1e-5 + 1e-6))
    assert SLOW.allreduce_seconds(4, 10**8) == pytest.approx(6 * (1e-5 + 0.025))


def test_a_fit_finds_what_it_was_made_from() -> None:
    fabric = fabric_between({size: SLOW.allreduce_seconds(2, size) for size in (8, 5_000_000)})
    assert fabric.latency_seconds == pytest.approx(SLOW.latency_seconds)
    assert fabric.bytes_per_second == pytest.approx(SLOW.bytes_per_second)
    compute = compute_of({batch: EXACT.seconds(batch) for batch in (16, 32, 64)})
    assert (compute.fixed, compute.per_example) == pytest.approx((EXACT.fixed, EXACT.per_example))
    assert compute_of({10: 1.0, 20: 3.0}).fixed == 0  # never less than nothing


@pytest.mark.parametrize(("cpus", "errors"), [(4, [0, 0]), (1, [97, 287])])  # on one CPU, ranks take turns
def test_the_model_is_exact_where_the_world_is_as_it_says(cpus: int, errors: list[int]) -> None:
    points = []
    for point in made_up().points[-2:]:
        step = Estimate(EXACT.seconds(64) + SLOW.allreduce_seconds(point.ranks, 190_000))
        points.append(msgspec.structs.replace(point, step=step))
    scaling = msgspec.structs.replace(made_up(cpus), points=points)
    assert [round(100 * error) for _, error in scaling.errors()] == errors


def test_communication_hides_behind_so_many_examples() -> None:
    scaling = msgspec.structs.replace(made_up(), buffer_bytes=50_000_000)
    for fabric, cells in zip(FABRICS, predicted_cells(scaling), strict=True):
        examples = int(cells[-1].removesuffix(" a rank"))
        assert EXACT.seconds(examples - 1) < fabric.allreduce_seconds(4096, 50_000_000) <= EXACT.seconds(examples)


def test_efficiency_is_paired_by_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down by half between two repetitions: ratios do not notice."""
    calls: Counter[Job] = Counter()

    def run_job(task: Task, ranks: int, _time_out: float) -> JobTimes:
        job = Job(ranks, task.batch_size)
        calls[job] += 1
        step = calls[job] * 0.001 * task.batch_size / ranks * (1.25 if ranks > 1 else 1)
        return JobTimes(step, 0.8 * step, 0.1 * step, {8: 1e-6, 800: 2e-6} if ranks > 1 else {})

    monkeypatch.setattr(scale, "run_job", run_job)
    times = run_jobs(TASK, (1, 2), repetitions=2, time_out=60.0, progress=lambda *_: None)
    assert set(calls.values()) == {2}
    scaling = scaling_of("mpi", TASK, (1, 2), times)
    assert scaling.buffer_bytes == 800
    for point in scaling.points:
        assert point.efficiency.value == pytest.approx(0.8 if point.ranks > 1 else 1)
        assert point.efficiency.half_width == pytest.approx(0, abs=1e-9)


def test_the_table_and_the_plots_show_what_was_measured_and_predicted() -> None:
    text = "\n".join(lines(made_up()))
    assert "strong   2      64     8.00 ms  6.00 ms  1.00 ms    1.00 ms  0.871 (0.771 to 0.971)" in text
    assert "4*" in text
    assert "more ranks than the 2 CPUs here" in text
    assert "more ranks" not in "\n".join(lines(made_up(cpus=4)))
    assert all(fabric.name in text for fabric in FABRICS)
    names = [[line.get_label() for line in draw(made_up()).axes[0].lines] for draw in (scaling_here, scaling_beyond)]
    predicted = [f"{rate} Gbit/s, {batch} a rank" for rate in (10, 100, 400) for batch in (64, 1024)]
    assert names == [["strong scaling", "weak scaling", "ideal"], ["measured here", *predicted, "ideal"]]


@pytest.mark.slow("starts MPI jobs")
@needs_mpi
def test_scale_measures_and_writes(backprop: Backprop, tmp_path: Path) -> None:
    small = ("--ranks=2", "--sizes=20-8-4", "--batch-size=16", "--generations=2", "--seconds=0.05")
    status, out, _ = backprop("scale", *small, f"--results={tmp_path}")
    assert status == 0
    scaling = read(tmp_path / "scaling.json")
    kinds = [(point.scaling, point.ranks) for point in scaling.points]
    assert kinds == [("strong", 1), ("strong", 2), ("weak", 1), ("weak", 2)]
    for point in scaling.points:
        assert point.compute.value + point.communication.value <= 1.5 * point.step.value
    assert scaling.buffer_bytes == 8 * (20 * 8 + 8 * 4 + 8 + 4 + 1)
    assert all((tmp_path / name).stat().st_size for name in ("scaling.png", "scaling-model.png"))
    assert "scaling  ranks  batch" in out


@needs_mpi
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--ranks=0", "--ranks 0: expected numbers from 1 to 256 as 1,2,4"),
        ("--ranks=two", "--ranks two: expected numbers"),
        ("--impl=in_place", "--impl=in_place: expected mpi, or mpi-ENGINE"),
    ],
)
def test_mistakes_are_told_before_anything_runs(backprop: Backprop, option: str, words: str) -> None:
    status, _, errors = backprop("scale", option)
    assert (status, errors.count("\n")) == (2, 1)
    assert words in errors


@needs_mpi
def test_a_job_that_fails_or_hangs_is_told_in_one_line() -> None:
    programs = ROOT / "tests" / "support" / "mpi_programs.py"
    raises, hangs = (msgspec.structs.replace(TASK, target=Target(str(programs), name)) for name in ("Raises", "Hangs"))
    with pytest.raises(UserError, match=r"2 ranks: the job ended with .* rank 0: RuntimeError: rank 1 failed: Arith"):
        run_job(raises, 2, 60.0)
    with pytest.raises(UserError, match="2 ranks: no answer within 2 s; see --time-out"):
        run_job(hangs, 2, 2.0)
