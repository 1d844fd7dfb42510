"""Results that somebody edited: a line that says what is wrong, or a page and a comparison; never a traceback."""

import copy
import json
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_results import made_up_results

from bench.analysis.compare_runs import compare_runs
from bench.analysis.history import history
from bench.analysis.results_files import read, to_builtins
from bench.output import changes
from bench.output.page.page import page
from bench.output.plots.curves import history_plot
from bench.output.plots.drawing import save, style
from bench.output.plots.run_plots import draw
from bench.output.plots.sweeps import SWEEPS
from bench.output.table import markdown, summary_lines
from bench.records import Results
from impls.support.errors import UserError

Backprop = Callable[..., tuple[int, str, str]]
WHOLE: dict[str, Any] = json.loads(json.dumps(to_builtins(made_up_results())))
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "book", "control", "ok", "float32", "</script>", "\x00", "é" * 300]),
    st.just([]),
    st.just({}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to everything within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


PLACES_BY_NAME: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}  # Most places are in samples.
for place in places(WHOLE)[1:]:
    PLACES_BY_NAME.setdefault(tuple(key if isinstance(key, str) else 0 for key in place), []).append(place)


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    """Draw results, of a sweep or not, with a few things replaced, removed or doubled."""
    content = copy.deepcopy(WHOLE)
    content["workloads"][0]["workload"]["sweep"] = draw(st.sampled_from(["", "dtype", "strong", *SWEEPS]))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(draw(st.sampled_from(list(PLACES_BY_NAME.values())))))
        holder: Any = content
        with suppress(KeyError, IndexError, TypeError):  # an earlier edit took the place away
            for key in way:
                holder = holder[key]
            edit = draw(st.sampled_from(("replace", "remove", "double")))
            if edit == "replace":
                holder[last] = draw(ODD)
            elif edit == "remove":
                del holder[last]
            elif isinstance(holder, list):
                holder.insert(last, copy.deepcopy(holder[last]))
    return content


@pytest.mark.slow("draws hundreds of edited results")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=edited())
def test_edited_results_are_refused_in_a_line_or_shown(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({Results.KEY: content}))
    message = ""
    try:
        show(read(path))
    except UserError as error:
        message = str(error)
    assert "\n" not in message


def show(results: Results) -> None:
    """Make all that can be made of results."""
    whole = made_up_results()
    with tempfile.TemporaryDirectory() as folder:
        draw(results, Path(folder))
        with style():
            save(history_plot(history([whole, results])), Path(folder) / "history.png")
    page(results, [])
    page(whole, [], [results, whole])
    markdown(results)
    summary_lines(results)
    for pair in ((results, whole), (whole, results)):
        comparison = compare_runs(*pair, gate=True)
        changes.lines(comparison, everything=True)
        changes.markdown(comparison)


def swept(sweep: str, number: int = 1, **workload: Any) -> dict[str, Any]:
    """Return the content of a results file: a sweep of so many workloads that are all the same, and one result."""
    content = copy.deepcopy(WHOLE)
    workload_result, row = content["workloads"][0], content["rows"][3]
    changed_workload = workload_result["workload"] | {"sweep": sweep, **workload}
    names = [f"w{place}" for place in range(number)]
    content["workloads"] = [workload_result | {"workload": changed_workload | {"name": name}} for name in names]
    content["rows"] = [row | {"workload": name} for name in names]
    return {Results.KEY: content}


def with_samples(*processes_samples: list[list[float]]) -> dict[str, Any]:
    """Return a sweep whose result has a time and these samples in its processes."""
    content = swept("batch")
    (row,) = content[Results.KEY]["rows"]
    row["processes"] = [
        process | {"samples": samples} for process, samples in zip(row["processes"], processes_samples, strict=False)
    ]
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (swept("data", epoch_examples=0), ""),
        (swept("depth", sizes=[784, 10]), ""),
        (swept("batch", number=4, batch_size=8), ""),
        (with_samples([], []), ""),
        (with_samples(*([[number, seconds] for number in range(5)] for seconds in (1e-12, 1e9))), ""),
        (swept("batch", batch_size=0), ">= 1 - at `$.workloads[0].workload.batch_size`"),
        (swept("width", sizes=[784]), ">= 2 - at `$.workloads[0].workload.sizes`"),
        (swept("width", sizes=[784, 10**9, 10]), "<= 1048576 - at `$.workloads[0].workload.sizes[1]`"),
    ],
)
def test_a_workload_that_no_plot_can_show_is_omitted_or_refused(
    backprop: Backprop, tmp_path: Path, content: dict[str, Any], words: str
) -> None:
    path, out = tmp_path / "results.json", tmp_path / "out"
    out.mkdir()
    path.write_text(json.dumps(content))
    report = ("report", path, f"--recordings={tmp_path}", f"--out={out / 'report.html'}")
    for command in (("plot", path, f"--out={out}"), report):
        status, _, err = backprop(*command)
        assert status == (2 if words else 0), err
        assert words in err
        assert err.count("\n") == (1 if words else 0)


def test_a_run_with_nothing_to_draw_says_so(backprop: Backprop, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(swept("data", epoch_examples=0)))
    assert backprop("plot", path) == (0, "plot: none; this run has nothing that can be drawn\n", "")


@pytest.mark.parametrize(
    ("date", "status"), [("x", 2), ("0001-01-01T00:00:00+14:00", 0), ("9999-12-31T23:59:59-12:00", 0)]
)
def test_a_date_that_is_none_is_refused(backprop: Backprop, tmp_path: Path, date: str, status: int) -> None:
    """Runs are put in order by it, in `report` and in `history`, which goes on without such a run."""
    for name, content in (("good", WHOLE), ("bad", WHOLE | {"date": date})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({Results.KEY: content}))
    options = (f"--recordings={tmp_path}", f"--out={tmp_path / 'r.html'}")
    for command, expected in (
        (("report", tmp_path / "good", tmp_path / "bad", *options), status),
        (("history", tmp_path), 0),
    ):
        ended, _, err = backprop(*command)
        assert ended == expected, err
        assert err.count("\n") == (1 if status else 0)
        assert f"Invalid isoformat string: {date!r}" in err or not status


def test_text_in_a_file_is_one_line_of_printable_letters(tmp_path: Path) -> None:
    """Wherever it stands: a terminal obeys control characters, and no XML may hold them."""
    evil = "a\x1b[31m\x00\x9b <b>\n$x$ 批"
    content = copy.deepcopy(WHOLE)
    content["machine"] |= {"cpu_model": evil, "numpy_blas": evil, "versions": {evil: evil, "numpy": evil}}
    content |= {"data": evil, "notes": [{"text": evil}], "against": evil}
    content["workloads"][0]["peak"]["what"] = evil
    path = tmp_path / "results.json"
    path.write_text(json.dumps({Results.KEY: content}))
    results = read(path)
    shown = (*summary_lines(results), *changes.lines(compare_runs(results, made_up_results()), everything=True))
    assert "a\ufffd[31m\ufffd\ufffd <b> $x$ 批" in map(str, results.notes)
    assert not [line for line in shown if not line.isprintable()]
    plots = draw(results, tmp_path / "plots", "svg")
    assert plots
    for plot in plots:
        ET.parse(plot)
    (workload_result,) = results.workloads
    workload_result.workload = msgspec.structs.replace(workload_result.workload, sweep="../../evil")
    assert draw(results, tmp_path / "plots") == []
