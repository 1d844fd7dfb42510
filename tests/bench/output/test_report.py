"""The report: one file that holds what it shows, in words and figures that follow from the results."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from made_up_results import BOOK, made_up_results, row, workload_result
from made_up_scaling import made_up

from bench.analysis.results_files import read, to_builtins
from bench.cli.report import report
from bench.output.page.facts import MARKS, Recorded, hosts, workload_facts
from bench.output.page.ladder import side_by_side
from bench.output.page.model import fits, models, start_ups
from bench.output.page.page import page
from bench.output.page.roofline import fastest_results, least_bytes
from bench.output.page.statements import DOES_NOT, HOLDS, UNKNOWN, Statement, statements, verdict
from bench.output.plots.palette import MARKERS
from bench.records import Estimate, FirstCall, Note, Outcome, Result, Results
from impls import ROOT
from impls.support.errors import UserError

REFERENCE = ROOT / "results" / "reference" / "default" / "results.json"
RECORDING = Recorded(
    "in_place", "book", "in_place · book · 1 thread", {"BLAS": (53.0, 3.0), "Python": (47.0, 3.0)}, 1000, ["a note"],
    ["all", "step", "dgemm"], [0, 1000, -1, [[1, 1000, 5, [[2, 530, 0, []]]]]],
)  # fmt: skip


class Parser(HTMLParser):
    """Collects the elements of a page, each with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))


def elements(text: str) -> list[tuple[str, dict[str, str]]]:
    parser = Parser()
    parser.feed(text)
    return parser.elements


@pytest.fixture
def results() -> Results:
    return made_up_results()


def test_the_page_asks_for_nothing_and_allows_nothing_else(results: Results) -> None:
    page_elements = elements(page(results, [RECORDING], scaling=made_up()))
    (policy,) = (attributes["content"] for _, attributes in page_elements if "http-equiv" in attributes)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; img-src data:; base-uri 'none'; "
        "form-action 'none'",
        policy,
    )
    for tag, attributes in page_elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes), tag
        assert tag not in ("link", "iframe", "object", "base"), tag
        assert attributes.get("src", "data:").startswith("data:"), tag
        assert attributes.get("href", "#").startswith(("#", "https://")), tag


def test_names_and_words_of_others_stay_text(results: Results) -> None:
    hostile = "</script><script>alert(1)</script><b onclick=x>"
    results.rows[3] = msgspec.structs.replace(results.rows[3], label=hostile[:40])
    results.rows.append(Result("book", "gone", "gone", 1, Outcome.CRASHED, hostile))
    results.notes.append(Note(hostile, ("book",)))
    results.machine.cpu_model = hostile
    recording = Recorded(hostile, "book", hostile, {}, 1, [hostile], [hostile], [0, 1, -1, []])
    tags = [tag for tag, _ in elements(page(results, [recording]))]
    assert tags.count("script") == 2
    assert tags.count("b") == 0


def test_rows_have_ranks_that_the_intervals_can_tell(results: Results) -> None:
    results.notes = [Note("everywhere"), Note("two of them", ("book", "deep")), Note("it did", ("book",), "in_place")]
    facts = workload_facts(results, results.workloads[0])
    assert [(each.result.label, each.rank) for each in facts.rows] == [
        ("in_place", 1), ("batched_2d", 2), ("per_example", 3), ("control", 4), ("torch", 0)
    ]  # fmt: skip
    assert facts.ratios["batched_2d"]["in_place"].value == pytest.approx(1.25)
    assert facts.ratios["in_place"]["batched_2d"].value == pytest.approx(0.8)
    assert facts.rows[0].points == pytest.approx([10.0] * 5)
    assert facts.notes == ["two of them", "in_place: it did"]
    for result, factors in zip(results.rows[2:4], ((1.0, 1.1, 0.9, 1.0, 1.05), (1.1, 0.9, 1.0, 1.2, 1.0)), strict=True):
        for process, factor in zip(result.processes, factors, strict=True):
            process.samples = [msgspec.structs.replace(s, seconds=4e-5 * factor) for s in process.samples]
    assert [each.rank for each in workload_facts(results, results.workloads[0]).rows[:2]] == [1, 1]


def test_the_roofline_has_the_fastest_row_by_flop_per_byte_that_must_move(results: Results) -> None:
    (fastest,) = fastest_results(results)
    numbers = 2 * (784 * 30 + 30 * 10) + 10 * (784 + 10)
    assert fastest.intensity == pytest.approx(results.workloads[0].flops / (8 * numbers))
    assert fastest.label == "in_place"
    assert fastest.gflops / fastest.peak == pytest.approx(0.5)
    text = page(results, [])
    assert "2.0 GB/s to 1 thread" in text
    assert "Gflop/s of the fastest row against flop per byte" in text
    results.machine = msgspec.structs.replace(results.machine, memory_rates=[])
    assert "dotted line" not in page(results, [])
    results.workloads[0].peak = None
    assert "Gflop/s of the fastest row" not in page(results, [])


@pytest.mark.parametrize(
    ("low", "high", "word"), [(1.6, 2.2, HOLDS), (2.5, 2.9, UNKNOWN), (3.0, 3.2, DOES_NOT), (1.0, 1.4, DOES_NOT)]
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, word: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high), (1.5, 2.7)) == word
    assert verdict(Estimate(2.0), (1.5, 2.7)) == UNKNOWN


def by_comparison(checked: list[Statement]) -> dict[str, Statement]:
    return {statement.claim.measured.partition(":")[0]: statement for statement in checked}


def test_claims_of_the_post_are_checked_by_what_was_measured(results: Results) -> None:
    results.workloads.append(workload_result(msgspec.structs.replace(BOOK, name="two", threads=2)))
    results.rows += [
        row("rust_per_example_blas", 2e-4, 2.0),
        row("rust_batched", 5e-5, 8.0, workload="two"),
        row("rust_rayon", 5.1e-5, 7.8, workload="two"),
    ]
    recording = Recorded("per_example", "book", "", {"BLAS": (16.0, 2.0)}, 1000, [])
    checked = by_comparison(statements(results, [recording]))
    assert checked["rust_per_example_blas over per_example"].verdict == HOLDS
    assert checked["batched_2d over rust_per_example_blas"].verdict == DOES_NOT  # four times
    assert checked["rust_rayon over rust_batched on several cores"].verdict == HOLDS
    assert checked["BLAS in the recording of per_example"].verdict == DOES_NOT
    assert checked["rust_tch over torch"].why == "torch was not timed on book"
    del results.workloads[1]
    checked = by_comparison(statements(results, []))
    assert "backprop profile per_example makes one" in checked["BLAS in the recording of per_example"].why
    assert checked["rust_rayon over rust_batched on several cores"].why.startswith(
        "the run has no such step on several"
    )


def test_overhead_and_cost_per_example_are_fitted_to_four_batch_sizes(results: Results) -> None:
    sizes = (1, 10, 100, 1000)
    results.workloads = [
        workload_result(msgspec.structs.replace(BOOK, name=f"b{size}", batch_size=size, sweep="batch"))
        for size in sizes
    ]
    results.rows = [row("in_place", 2e-5 + 3e-6 * size, workload=f"b{size}") for size in sizes]
    (fit,) = fits(results)
    assert fit.overhead[0] == pytest.approx(2e-5)
    assert fit.per_example == pytest.approx((3e-6,) * 3)
    assert fit.holds
    results.rows[-1] = row("in_place", 9e-3, workload="b1000")  # out of the cache
    (fit,) = fits(results)
    assert not fit.holds
    assert "does not hold: off by " in page(results, [])
    del results.rows[-1]
    assert fits(results) == []


def test_a_model_predicts_the_points_that_it_has_not_seen(results: Results) -> None:
    """Times made of an overhead, a rate and a bandwidth beyond 4 MiB are found again; a point off them is reported."""
    results.workloads, results.rows, names = [], [], []
    for width in (8, 64, 512, 2048):
        for size in (1, 16, 256):
            name = f"w{width}b{size}"
            names.append(name)
            swept = msgspec.structs.replace(
                BOOK, name=name, sizes=(784, width, 10), batch_size=size, sweep="width-grid"
            )
            each = msgspec.structs.replace(workload_result(swept), examples=size, flops=swept.flops(size))
            seconds = 2e-5 + each.flops / 4e10 + max(0, least_bytes(each) - (4 << 20)) / 5e9
            results.workloads.append(each)
            results.rows.append(row("in_place", seconds, workload=name))
    (model,) = models(results)
    assert (model.overhead, model.rate, model.bandwidth) == pytest.approx((2e-5, 4e10, 5e9), rel=1e-3)
    assert (model.cache, model.points, model.holds) == (4 << 20, 12, True)
    assert "holds: all 12 predicted" in page(results, [])
    results.rows[-1] = row("in_place", 2 * seconds, workload=names[-1])
    (model,) = models(results)
    assert (model.holds, model.worst_at) == (False, names[-1])
    assert f"worst at {names[-1]}: -" in page(results, [])


def test_a_slow_start_pays_after_so_many_steps(results: Results) -> None:
    slow = [FirstCall(2.0, 0.0, 0.1001, 0)]
    results.rows += [row("numba", 2e-5, 20.0, first_calls=slow), row("torch_compiled", 5e-5, 8.0, first_calls=slow)]
    steps = {start_up.label: start_up.steps for start_up in start_ups(results)}
    assert steps == {"numba": pytest.approx(2.0 / (4e-5 - 2e-5), rel=0.01), "torch_compiled": None}
    assert "never: its steps are slower" in page(results, [])


def test_two_sources_stand_side_by_side(tmp_path: Path) -> None:
    same = [f"same {n}" for n in range(20)]
    left, right = tmp_path / "left.py", tmp_path / "right.py"
    left.write_text("\n".join([*same, "    weighted = W @ x", "gone <b>"]))
    right.write_text("\n".join([*same, "    weighted = X @ x", "new = 1"]))
    table = side_by_side(left, right)
    assert '    weighted = <span class="diff_chg">W</span> @ x' in table
    assert '<span class="diff_sub">gone &lt;b&gt;</span>' in table
    assert '<span class="diff_add">new = 1</span>' in table
    assert "same 19" in table
    assert "same 9" not in table


def test_the_reference_run_makes_a_whole_page() -> None:
    text = page(read(REFERENCE), [RECORDING])
    assert len(text) < 5_000_000
    for words in (
        "What was found",
        "The ladder",
        "in_place.py and numba.py, side by side",
        "does not hold",
        "flop per byte",
    ):
        assert words in text


def test_several_runs_show_their_history(results: Results, tmp_path: Path) -> None:
    for number, python in enumerate(("3.11.7", "3.11.7", "3.13.0")):
        results.date = f"2026-02-0{number + 1}T12:00:00+01:00"
        results.machine = msgspec.structs.replace(results.machine, python=python)
        (tmp_path / f"{number}.json").write_text(json.dumps({Results.KEY: to_builtins(results)}))
    paths = [str(tmp_path / f"{number}.json") for number in (2, 0, 1)]
    done = CliRunner().invoke(report, [*paths, f"--recordings={tmp_path}", f"--out={tmp_path / 'page.html'}"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page.html").read_text()
    assert "2026-02-03" in text  # the newest is shown
    assert "From 2026-02-03: Python 3.13.0." in text
    assert 'alt="Speed-ups from run to run' in text


def test_scaling_is_shown_beside_the_run_of_its_machine(results: Results, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({Results.KEY: to_builtins(results)}))
    path = tmp_path / "scaling.json"
    command = [str(tmp_path), f"--scaling={path}", f"--recordings={tmp_path}"]
    path.write_bytes(msgspec.json.encode(made_up()))
    done = CliRunner().invoke(report, command, catch_exceptions=False)
    assert (done.exit_code, done.output) == (0, f"report: {tmp_path / 'report.html'}\n")
    text = (tmp_path / "report.html").read_text()
    assert text.count(": efficiency against ranks; the tables below have the figures") == 2
    assert '<td>strong</td><td class="n">4*</td>' in text
    assert "* more ranks than the 2 CPUs here: they take turns" in text
    assert "InfiniBand NDR, 400 Gbit/s" in text
    path.write_bytes(msgspec.json.encode(made_up(cpu_model="Abacus 4000")))
    with pytest.raises(UserError, match="measured on Abacus 4000, the run on Abacus 3000"):
        CliRunner().invoke(report, command, catch_exceptions=False)
    assert "Beyond one machine" not in page(results, [], scaling=made_up(cpu_model="Abacus 4000"))
    path.write_bytes(b"{")
    with pytest.raises(UserError, match="not a file of backprop scale, or damaged"):
        CliRunner().invoke(report, command, catch_exceptions=False)


def test_machines_stand_side_by_side(results: Results) -> None:
    other = made_up_results()
    other.machine = msgspec.structs.replace(other.machine, cpu_model="Abacus <4000>")
    other.date = "2026-03-01T12:00:00+01:00"
    other.rows = [each for each in other.rows if each.label != "batched_2d"]
    assert "Abacus &lt;4000&gt;, 2 CPUs, 2026-03-01" in page(results, [], [results, other])
    table = hosts([results, other])
    assert table is not None
    cells = {label: [speed_up for speed_up, _ in both] for label, both in table.workloads["book"].items()}
    assert cells["batched_2d"][1] == "–"
    assert cells["per_example"] == ["baseline", "baseline"]
    assert cells["torch"] == ["unavailable", "unavailable"]
    assert hosts([results, results]) is None


def test_a_run_with_next_to_nothing_in_it(results: Results) -> None:
    results.rows = [Result("book", "per_example", "per_example", 1, Outcome.CRASHED, "it did")]
    results.workloads[0].peak = results.workloads[0].reference = None
    text = page(results, [])
    assert "No row was timed." in text
    assert "There are no recordings" in text


def test_every_family_has_its_mark() -> None:
    assert set(MARKERS.values()) <= MARKS.keys()
