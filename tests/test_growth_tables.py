"""The tables of the sweeps, how cost grows, as pages have them."""

import json
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest
from made_up_results import BOOK, made_up_results, row, workload_result

from bench.records import Results, Row, Workload
from bench.report import figures
from bench.report.growth_tables import gains_of_threads, growth, growth_with_width, model_of_a_step, weak_scaling
from impls.errors import UserError


@pytest.fixture(autouse=True)
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Put a folder in the place of the reference runs."""
    monkeypatch.setattr(figures, "REFERENCE", tmp_path)
    figures.reference.cache_clear()
    yield
    figures.reference.cache_clear()


def a_run(sweep: str, *found: tuple[dict[str, object], list[Row]]) -> None:
    """Write a reference run named as its sweep, of workloads that differ from the book's, with their rows."""
    results = made_up_results()
    results.workloads, results.rows = [], []
    for number, (changes, rows) in enumerate(found):
        of: Workload = msgspec.structs.replace(BOOK, name=f"w{number}", sweep=sweep, **changes)
        results.workloads.append(workload_result(of))
        results.rows += [msgspec.structs.replace(each, workload=of.name) for each in rows]
    folder = figures.REFERENCE / sweep
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({Results.KEY: msgspec.to_builtins(results)}))


def lines(table: str) -> list[str]:
    """Return the lines of a table; each has as many cells as the first."""
    assert table.startswith("\n\n|")
    assert table.endswith("|\n\n")
    found = table.strip().splitlines()
    assert len({line.count("|") for line in found}) == 1
    return found


def test_an_epoch_is_told_by_its_examples_in_order_of_size() -> None:
    a_run(
        "data",
        ({"timed": "epoch", "epoch_examples": 1000}, [row("in_place", 3e-3), row("numba", 2e-3)]),
        ({"timed": "epoch", "epoch_examples": 100}, [row("in_place", 2e-4)]),
        ({"timed": "epoch", "epoch_examples": 100, "dtype": "float32"}, [row("in_place", 1e-4)]),
    )
    assert lines(growth("data", "float64", "1", "in_place", "numba")) == [
        "| examples in an epoch | 100 | 1,000 |",
        "| --- | ---: | ---: |",
        "| `in_place` | 2.00 µs | 3.00 µs |",
        "| `numba` | – | 2.00 µs |",
    ]


def test_a_width_is_told_for_one_size_of_the_mini_batch() -> None:
    a_run(
        "width-grid",
        ({"sizes": (784, 512, 10), "batch_size": 10}, [row("in_place", 4e-4)]),
        ({"sizes": (784, 8, 10), "batch_size": 10}, [row("in_place", 1e-5)]),
        ({"sizes": (784, 8, 10), "batch_size": 1}, [row("in_place", 5e-6)]),
    )
    assert lines(growth_with_width("width-grid", "float64", "10", "in_place")) == [
        "| units in the hidden layer | 8 | 512 |",
        "| --- | ---: | ---: |",
        "| `in_place` | 1.00 µs | 40.0 µs |",
    ]
    with pytest.raises(UserError, match="'width-grid' has no width-grid in float64 with 256 examples"):
        growth_with_width("width-grid", "float64", "256", "in_place")
    with pytest.raises(UserError, match="'width-grid' has no sweep in float64 with 1 threads"):
        growth("width-grid", "float64", "1", "in_place")  # it would mix mini-batches


def test_what_threads_gain_and_from_where_on() -> None:
    a_run(
        "strong",
        *[
            (
                dict[str, object](batch_size=size, threads=threads),
                [
                    row("in_place", 4e-5, 10.0 * (gain if threads == 2 else 1.0)),
                    row("numba", 4e-5, 10.0 * (0.5 if threads == 2 else 1.0)),
                    row("batched_2d", 4e-5, 10.0),
                ],
            )
            for threads in (1, 2)
            for size, gain in ((1, 0.5), (10, 1.5), (100, 1.9))
        ],
    )
    with pytest.raises(UserError, match="'strong' has no sweep in float64 with 1 threads"):
        growth("strong", "float64", "1", "in_place")  # it is told by its own table
    assert lines(gains_of_threads("strong", "2")) == [
        "| row | 2 threads surely gain from | in the largest step |",
        "| --- | ---: | ---: |",
        "| `in_place` | 0.96 Mflop | 1.90 (1.85 to 1.95) |",
        "| `numba` | no step | 0.500 (0.486 to 0.514) |",
    ]


def test_weak_scaling_is_the_time_on_one_thread_over_that_on_the_most() -> None:
    a_run(
        "weak",
        ({"batch_size": 128, "threads": 2}, [row("in_place", 5e-3)]),
        ({"batch_size": 64, "threads": 1}, [row("in_place", 4e-3), row("numba", 2e-3)]),
    )
    assert lines(weak_scaling("weak", "in_place", "numba")) == [
        "| row | 1 thread | 2 threads | efficiency |",
        "| --- | ---: | ---: | ---: |",
        "| `in_place` | 4.00 ms | 5.00 ms | 0.800 |",
        "| `numba` | 2.00 ms | – | – |",
    ]


def test_the_model_says_where_it_holds_and_where_it_fails() -> None:
    sizes = [1, 2, 4, 8, 16, 32, 64, 128]
    a_run(
        "batch",
        *[
            (
                dict[str, object](batch_size=size),
                [
                    row("in_place", 1e-5 + BOOK.flops(size) / 50e9),
                    row("numba", (1e-5 + BOOK.flops(size) / 50e9) * (3 if size == 8 else 1)),
                    row("torch", 1e-3),
                ],
            )
            for size in sizes
        ],
    )
    head, rule, numba, in_place = lines(model_of_a_step("batch", "numba", "in_place"))
    assert head == "| row | where | overhead | products | memory | points left out |"
    assert rule == "| --- | --- | ---: | ---: | ---: | --- |"
    assert in_place.startswith(
        "| `in_place` | float64, 1 thread | 10.0 µs | 50.0 Gflop/s | no mark | all 8 within a fifth"
    )
    assert numba.startswith("| `numba` | float64, 1 thread | ")
    assert "| fails at " in numba
    assert " of 8, worst at w" in numba
    assert not [line for line in lines(model_of_a_step("batch", "numba")) if "torch" in line]
