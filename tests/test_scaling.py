"""Scaling over ranks: the model's formulas, the command, and what it writes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from made_up_scaling import EXACT, SLOW, made_up
from matplotlib.figure import Figure
from required import needs

from bench.records import Estimate
from bench.scaling import measure, model, plot, table
from bench.scaling.record import Compute, Point, Sample, Scaling, Told
from impls.errors import UserError
from impls.registry import ENTRIES, find

Backprop = Callable[..., tuple[int, str, str]]
needs_mpi = needs("mpi", ENTRIES["mpi"].unavailable())


def test_allreduce_is_the_papers() -> None:
    """Two ranks: the ring sends half of the buffer twice. Eight: three levels of a tree, up and down."""
    assert model.ring_seconds(SLOW, 2, 1_000_000) == pytest.approx(2 * 1e-5 + 1e-3)
    assert model.tree_seconds(SLOW, 8, 1000) == pytest.approx(6 * (1e-5 + 1e-6))
    assert model.allreduce_seconds(SLOW, 1, 1000) == 0
    assert model.allreduce_seconds(SLOW, 1024, 1000) == model.tree_seconds(SLOW, 1024, 1000)
    assert model.allreduce_seconds(SLOW, 4, 10**8) == model.ring_seconds(SLOW, 4, 10**8)


def test_a_fit_finds_what_it_was_made_from() -> None:
    times = {size: model.ring_seconds(SLOW, 2, size) for size in (8, 5_000_000)}
    found = model.fitted(times)
    assert found.latency_seconds == pytest.approx(SLOW.latency_seconds)
    assert found.bytes_per_second == pytest.approx(SLOW.bytes_per_second)
    compute = model.compute_of({batch: EXACT.fixed + EXACT.per_example * batch for batch in (16, 32, 64)})
    assert compute.fixed == pytest.approx(EXACT.fixed)
    assert compute.per_example == pytest.approx(EXACT.per_example)
    assert model.compute_of({10: 1.0}) == Compute(0.0, 0.1)
    assert model.compute_of({10: 1.0, 20: 3.0}).fixed == 0  # never less than nothing


def test_the_model_is_exact_where_the_world_is_as_it_says() -> None:
    size = 190_000
    points = []
    for ranks in (2, 4):
        step = Estimate(model.step_seconds(EXACT, SLOW, ranks, 64, size))
        points.append(Point("weak", ranks, 64 * ranks, step, step, step, step))
    for one in model.predictions(EXACT, SLOW, points, size, cpus=4):
        assert one.error_percent == pytest.approx(0, abs=1e-9)
    crowded = model.predictions(EXACT, SLOW, points, size, cpus=1)
    assert [round(one.error_percent) for one in crowded] == [97, 287]  # they take turns


def test_communication_hides_behind_so_many_examples() -> None:
    batch = model.hiding_batch(EXACT, SLOW, 4096, 50_000_000)
    seconds = model.allreduce_seconds(SLOW, 4096, 50_000_000)
    assert EXACT.fixed + EXACT.per_example * (batch - 1) < seconds <= EXACT.fixed + EXACT.per_example * batch
    assert model.hiding_batch(EXACT, SLOW, 2, 8) == 1


def test_efficiency_is_paired_by_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down by half between two generations: ratios do not notice."""
    asked = measure.Asked((1, 2), (6, 5, 4), 8, "float64", 2, 0.1, 60.0)
    calls: dict[measure.Case, int] = {}

    def job(_entry: object, _asked: object, case: measure.Case) -> Told:
        calls[case] = calls.get(case, 0) + 1
        step = calls[case] * 0.001 * case.batch_size / case.ranks * (1.25 if case.ranks > 1 else 1)
        samples = [Sample(step, 0.8 * step, 0.1 * step)] * 5
        return Told(samples, {8: 1e-6, 800: 2e-6} if case.ranks > 1 else {})

    monkeypatch.setattr(measure, "run_job", job)
    found = measure.scaling(ENTRIES["mpi"], asked, lambda *_: None)
    efficiencies = {(point.scaling, point.ranks): point.efficiency for point in found.points}
    for of in (efficiencies["strong", 2], efficiencies["weak", 2]):
        assert of.value == pytest.approx(0.8)
        assert of.half_width == pytest.approx(0, abs=1e-9)
    assert efficiencies["strong", 1].value == 1
    assert found.buffer_bytes == 800
    assert all(count == 2 for count in calls.values())


def test_the_table_tells_what_was_found() -> None:
    text = "\n".join(table.lines(made_up()))
    assert "strong   2      64     8.00 ms  6.00 ms  1.00 ms    1.00 ms  0.871 (0.771 to 0.971)" in text
    assert "4*" in text
    assert "more ranks than the 2 CPUs here" in text
    assert "more ranks" not in "\n".join(table.lines(made_up(cpus=4)))
    assert "The model's error, of the step's time: 2 ranks strong " in text
    for fabric in model.FABRICS:
        assert fabric.name in text


@pytest.mark.parametrize("draw", [plot.measured, plot.modelled])
def test_the_plots_have_the_ideal_and_every_curve(draw: Callable[[Scaling], Figure]) -> None:
    figure = draw(made_up())
    labels = [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]
    expected = ["strong scaling", "weak scaling", "ideal", "compute", "Allreduce", "waiting"]
    if draw is plot.modelled:
        expected = [f"{fabric.name}, {batch} a rank" for fabric in model.FABRICS for batch in (64, 256, 1024)]
        assert figure.axes[0].get_xticks()[-1] == 4096
    assert set(expected) <= set(labels)
    figure.draw_without_rendering()


@pytest.mark.slow("starts MPI jobs")
@needs_mpi
def test_scale_measures_and_writes(backprop: Backprop, tmp_path: Path) -> None:
    small = ("--ranks=2", "--sizes=20-8-4", "--batch-size=16", "--generations=2", "--seconds=0.05")
    status, out, _ = backprop("scale", *small, f"--results={tmp_path}")
    assert status == 0
    found = msgspec.json.decode((tmp_path / "scaling.json").read_bytes(), type=Scaling)
    assert [(point.scaling, point.ranks) for point in found.points] == [
        ("strong", 1), ("strong", 2), ("weak", 1), ("weak", 2)
    ]  # fmt: skip
    for point in found.points:
        assert point.compute.value + point.communication.value <= 1.5 * point.step.value
    assert found.buffer_bytes == 8 * (20 * 8 + 8 * 4 + 8 + 4 + 1)
    assert all((tmp_path / name).stat().st_size for name in ("scaling.png", "scaling-model.png"))
    assert "scaling  ranks  batch" in out


@needs_mpi
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--ranks=0", "--ranks 0: expected numbers from 1 to 256 as 1,2,4"),
        ("--ranks=two", "--ranks two: expected numbers"),
        ("--impl=in_place", "--impl=in_place: expected mpi, or mpi-ENGINE"),
    ],
)
def test_mistakes_are_told_before_anything_runs(backprop: Backprop, option: str, told: str) -> None:
    status, _, errors = backprop("scale", option)
    assert (status, errors.count("\n")) == (2, 1)
    assert told in errors


@needs_mpi
def test_a_job_that_fails_or_hangs_is_told_in_one_line() -> None:
    asked = measure.Asked((2,), (6, 5, 4), 8, "float64", 1, 0.05, 60.0)
    programs = Path(__file__).parent / "mpi_programs.py"
    raises = dataclasses.replace(find("mpi"), target=f"{programs}:Raises")
    with pytest.raises(UserError, match=r"2 ranks: the job ended with .* rank 0: RuntimeError: rank 1 failed: Arith"):
        measure.run_job(raises, asked, measure.Case(2, 8))
    hangs = dataclasses.replace(find("mpi"), target=f"{programs}:Hangs")
    with pytest.raises(UserError, match="2 ranks: no answer within 2 s; see --time-out"):
        measure.run_job(hangs, msgspec.structs.replace(asked, time_out=2.0), measure.Case(2, 8))
