"""Figures in pages: written between their markers, from reference results, and nothing else is touched."""

import json
import re
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_results import BOOK, made_up_results, processes, row, workload_result

from bench.records import Estimate, Results
from bench.report import figures
from bench.report.pages import pages, written
from bench.report.table import markdown
from bench.results.files import to_builtins
from impls import ROOT
from impls.errors import UserError
from impls.registry import entries

Backprop = Callable[..., tuple[int, str, str]]


def write(folder: Path, results: Results) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({Results.KEY: to_builtins(results)}))


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Return a folder of reference runs: `default`, a sweep, and three A/A runs."""
    folder = tmp_path / "reference"
    results = made_up_results()
    results.rows += [row("rust_fused", 2.5e-5, 16.0), row("torch_compiled", 2e-4, 2.0)]
    for of_row in results.rows[2:4]:  # a little apart from process to process, so that intervals have a width
        for generation, process in enumerate(of_row.processes):
            process.samples = processes((of_row.seconds or 0.0) * (1 + generation / 1000))[0].samples
    write(folder / "default", results)
    sweep = made_up_results()
    sweep.workloads, sweep.rows = [], []
    for size, seconds in ((1, 8e-6), (10, 4e-5), (1000, 3e-3)):
        of = msgspec.structs.replace(BOOK, name=f"b{size}", batch_size=size, sweep="batch-grid")
        sweep.workloads.insert(0, workload_result(of))
        sweep.rows.append(row("in_place", seconds, workload=of.name))
    write(folder / "sweep", sweep)
    for number, value in enumerate((0.999, 1.001, 1.04)):
        of_control = made_up_results()
        of_control.steal_percent, of_control.duration_seconds = number / 10, 60.0 + number
        for generation, process in enumerate(of_control.rows[1].processes):
            process.samples = processes(4e-4 / value * (1 + (generation - 2) / 1000))[0].samples
        write(folder / "control" / str(number), of_control)
    monkeypatch.setattr(figures, "REFERENCE", folder)
    figures.reference.cache_clear()
    yield folder
    figures.reference.cache_clear()


def figure(words: str) -> str:
    """Return what a page has between the markers of a figure."""
    found = re.fullmatch(r"<!--= .*? -->(.*)<!--/-->", written(f"<!--= {words} --><!--/-->"), re.DOTALL)
    assert found
    return found[1]


# --- Markers -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
def test_only_what_is_between_markers_is_replaced() -> None:
    page = """# Title <!-- a comment -->

It is <!--= ratio default book in_place -->7<!--/--> times as fast: <!--= percent default book in_place --><!--/-->
a step; <!--= ratio default book in_place -->
old
text<!--/-->. **bold** <b>html</b> `<!--`
"""
    assert (
        written(page)
        == """# Title <!-- a comment -->

It is <!--= ratio default book in_place -->9.98<!--/--> times as fast: <!--= percent default book in_place -->50<!--/-->
a step; <!--= ratio default book in_place -->9.98<!--/-->. **bold** <b>html</b> `<!--`
"""
    )
    assert written(written(page)) == written(page)


@given(st.text(alphabet="ab<!-/>= \n|`"))
def test_a_page_without_figures_stays_as_it_is(page: str) -> None:
    if "<!--=" not in page and "<!--/-->" not in page:
        assert written(page) == page


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!--= rows -->", "1 markers begin a figure, 0 end one, 0 do both"),
        ("<!--/-->", "0 markers begin a figure, 1 end one, 0 do both"),
        ("<!--= rows --><!--= rows --><!--/-->", "2 markers begin a figure, 1 end one, 1 do both"),
        ("<!--= rows --><!--/--><!--/-->", "1 markers begin a figure, 2 end one, 1 do both"),
        ("<!--= rows<!--/-->", "1 markers begin a figure, 1 end one, 0 do both"),
        ("<!--= rosw --><!--/-->", "no figure is called 'rosw'; known: "),
        ("<!--=  --><!--/-->", "figures: "),
        ("<!--= ratio default book --><!--/-->", "figures: ratio default book: ratio() missing 1 required"),
        ("<!--= rows default --><!--/-->", "figures: rows default: rows() takes 0 positional arguments"),
        ("<!--= ratio none book in_place --><!--/-->", "reference/none/results.json: cannot be read"),
        ("<!--= ratio default bok in_place --><!--/-->", "has no time of in_place on bok"),
        ("<!--= ratio default book torch --><!--/-->", "has no time of torch on book"),
        ("<!--= ratio default book in_place no_row --><!--/-->", "no workload has both 'no_row' and 'in_place'"),
        ("<!--= peak default bok --><!--/-->", "the reference run 'default' has no workload bok"),
        ("<!--= threads default bok --><!--/-->", "the reference run 'default' has no workload bok"),
        ("<!--= control_range sleep --><!--/-->", "expected overhead, steal, half_width or duration, found 'sleep'"),
        ("<!--= growth sweep float32 1 in_place --><!--/-->", "has no sweep in float32 with 1 threads"),
        ("<!--= growth sweep float64 one in_place --><!--/-->", "figures: growth"),
        ("<!--= share no_row book --><!--/-->", "no_row.book.1.raw.txt: cannot be read"),
        ("<!--= share in_place book nothing --><!--/-->", "expected products or one of"),
        ("<!--= samples no_workload --><!--/-->", "figures: samples"),
    ],
)
@pytest.mark.usefixtures("reference")
def test_a_marker_that_cannot_be_filled_is_told_in_one_line(page: str, words: str) -> None:
    with pytest.raises(UserError) as raised:
        written(page)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


# --- Figures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("speed_up default book in_place", "9.98 (9.96 to 10.0)"),
        ("speed_up default book rust_fused", "16.0 (16.0 to 16.0)"),
        ("ratio default book rust_fused", "16.0"),
        ("ratio default book rust_fused torch_compiled", "8.00"),
        ("peak default book", "20.0"),
        ("peak default book torch_compiled", "10.0"),
        ("peak_rate default book", "47.9 Gflop/s"),
        ("reference_rate default book", "38.4 Gflop/s"),
        ("reference_percent default book", "80"),
        ("threads default book", "1"),
        ("percent default book in_place", "50"),
        ("time default book in_place", "40.0 µs"),
        ("widths default", "± 2.0 %, at most ± 2.0 %"),
        ("overhead default", "0.20 %"),
        ("held", "2 of 3"),
        ("held in_place batched_2d", "0 of 3"),
        ("told_slower per_example in_place", "3 of 3"),
        ("told_slower in_place per_example", "0 of 3"),
        ("half_width control", "± 0.20 %"),
        ("generations_of control", "5 to 5"),
        ("control_range steal", "0 to 0.20"),
        ("control_range overhead", "0.20 to 0.20"),
        ("control_range duration", "60 to 62"),
        ("control_range half_width", "2.0 to 2.0"),
    ],
)
@pytest.mark.usefixtures("reference")
def test_a_figure_in_a_sentence(words: str, text: str) -> None:
    assert figure(words) == text


@pytest.mark.parametrize(
    "words", ["percent {} book in_place", "peak {} book", "peak_rate {} book", "reference_percent {} book"]
)
def test_a_peak_that_was_not_measured_is_a_dash(reference: Path, words: str) -> None:
    results = made_up_results()
    results.workloads[0].peak, results.workloads[0].no_peak = None, "for a reason"
    for of_row in results.rows:
        of_row.percent_of_peak = None
    write(reference / "without", results)
    assert figure(words.format("without")) == "–"
    assert figure("reference_rate without book") == "38.4 Gflop/s"


def test_without_runs_of_the_control_a_figure_of_them_is_told(reference: Path) -> None:
    shutil.rmtree(reference / "control")
    with pytest.raises(UserError):
        figure("held")


@pytest.mark.usefixtures("reference")
def test_the_conditions_of_a_run() -> None:
    text = figure("conditions default")
    assert text.startswith("Abacus 3000, 2 CPUs; Python 3.11.7, NumPy 2.4.6 with OpenBLAS 0.3.31; digits; 5 rows, ")
    assert text.endswith(", 5 processes each, 1.0 minutes; 2026-01-31")


@pytest.mark.usefixtures("reference")
def test_tables() -> None:
    assert figure("table default").strip() == markdown(figures.reference("default")).strip()
    ladder = figure("ladder default book").strip().splitlines()
    assert ladder[0] == "| from | to | `book` | what changed |"
    assert (
        "| `batched_2d` | `in_place` | 1.25 (1.25 to 1.25) | no temporaries; BLAS adds to the weights itself |"
        in ladder
    )
    assert "| `in_place` | `numba` | – | compiled: passes fused, no Python between them |" in ladder
    assert "| `book` | `torch_compiled` | 8.00 (8.00 to 8.00) | 4.99 (4.98 to 5.00) |" in figure("frameworks default")
    assert figure("growth sweep float64 1 in_place numba").strip().splitlines() == [
        "| examples in a mini-batch | 1 | 10 | 1,000 |",
        "| --- | ---: | ---: | ---: |",
        "| `in_place` | 8.00 µs | 4.00 µs | 3.00 µs |",
        "| `numba` | – | – | – |",
    ]
    assert figure("times_of_runs default,control/1 book in_place").strip().splitlines() == [
        "| row | `book`, default | `book`, control/1 |",
        "| --- | ---: | ---: |",
        "| `in_place` | 40.0 µs | 40.0 µs |",
    ]
    assert [line.split("`")[1] for line in figure("rows").strip().splitlines()[2:]] == list(entries())
    control = figure("runs_of_the_control").strip().splitlines()
    assert control[0] == "| run | `control` |"
    assert [line.split("|")[1].strip() for line in control[2:]] == ["1", "2", "3", "spread"]
    assert "0.9990 (" in control[2]
    assert control[-1] == "| spread | 2.3 % |"
    for words in ("table default", "ladder default book", "rows", "growth sweep float64 1 in_place"):
        assert figure(words).startswith("\n\n|")  # so that Markdown knows it for a table
        assert figure(words).endswith("|\n\n")
        assert len({line.count("|") for line in figure(words).strip().splitlines()}) == 1


def test_figures_of_the_recordings() -> None:
    assert re.fullmatch(r"\d+\.\d ± \d\.\d", figure("share in_place book"))
    assert re.fullmatch(r"\d+\.\d ± \d\.\d", figure("share in_place book NumPy_C"))
    assert re.fullmatch(r"\d+\.\d ± \d\.\d", figure("frame_share in_place book dgemm"))
    assert re.fullmatch(r"[\d,]+ to [\d,]+", figure("samples book"))
    assert re.fullmatch(r"(\d+ to )?\d+ %", figure("slowed book in_place"))
    table = figure("share_table book large").strip().splitlines()
    assert table[0] == "| row | `book` | `large` |"
    assert [line for line in table if line.startswith("| `in_place` |")]


# --- The command -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference")
def test_the_command_writes_stale_pages_and_checks_without_writing(
    backprop: Backprop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, fresh = tmp_path / "stale.md", tmp_path / "fresh.md"
    stale.write_text("a µ <!--= ratio default book rust_fused -->3<!--/-->\n", encoding="utf-8")
    fresh.write_text("b <!--= ratio default book rust_fused -->16.0<!--/-->\n")
    monkeypatch.setattr("bench.commands.figures.pages", lambda: [stale, fresh])
    monkeypatch.setattr("bench.commands.figures.ROOT", tmp_path)
    before = fresh.stat()
    assert backprop("figures", "--check") == (1, "stale: stale.md\n", "")
    assert "-->3<!" in stale.read_text()
    assert backprop("figures") == (0, "written: stale.md\n", "")
    assert stale.read_text(encoding="utf-8") == "a µ <!--= ratio default book rust_fused -->16.0<!--/-->\n"
    assert backprop("figures", "--check") == (0, "", "")
    assert fresh.stat().st_ino == before.st_ino  # not written again


def test_every_page_is_there() -> None:
    assert {"README.md", "profiles/README.md"} <= {page.relative_to(ROOT).as_posix() for page in pages()}
    assert all(page.is_file() for page in pages())


def test_all_pages_are_current(backprop: Backprop) -> None:
    assert backprop("figures", "--check") == (0, "", "")


def test_the_estimates_of_the_figures_are_those_of_the_samples(reference: Path) -> None:
    """Not those that are stored: a page must not say what the samples do not."""
    results = made_up_results()
    results.rows[3].speed_up = Estimate(99.0, 98.0, 100.0)
    write(reference / "edited", results)
    assert figure("ratio edited book in_place") == "10.0"


# --- Gates -------------------------------------------------------------------------------------------------------


def test_what_a_gate_finds_is_counted(reference: Path) -> None:
    """In runs of unchanged code, and in runs with a row that has become 10 % slower."""
    for number in range(3):
        results = made_up_results()
        results.rows += [row("ten", 4.4e-5, 9.1), row("twin", 4e-5, 10.0)]
        write(reference / "gate" / str(number), results)
        write(reference / "control" / str(number), results)
    figures.reference.cache_clear()
    assert figure("gates_failed 5%") == "0 of 2"
    assert figure("gates_failed 5% ten gate") == "3 of 3"
    assert figure("gates_failed 20% ten gate") == "0 of 3"
    assert figure("against_found ten") == "3 of 3"
    assert figure("against_called twin") == "0 of 3"
    assert figure("between_runs") == "0 %"
