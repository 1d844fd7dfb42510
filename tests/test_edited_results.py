"""Results that somebody edited: a line that says what is wrong, or a page and a comparison; never a traceback."""

import copy
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_results import made_up_results

from bench.records import Results
from bench.report import changes
from bench.report.page.page import page
from bench.report.plots import draw
from bench.report.table import markdown, summary_lines
from bench.results.compare_runs import compare_runs
from bench.results.files import read, to_builtins
from bench.results.history import history
from impls.errors import UserError

WHOLE = to_builtins(made_up_results())
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "book", "control", "ok", "float32", "wrong after 3 calls", "</script>", "\x00", "é" * 300]),
    st.just([]),
    st.just({}),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to everything within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


PLACES = [place for place in places(WHOLE) if place]


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    """Draw results with a few things replaced, removed or doubled."""
    found = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(PLACES))
        holder: Any = found
        try:
            for key in way:
                holder = holder[key]
            what = draw(st.sampled_from(("replace", "remove", "double")))
            if what == "replace":
                holder[last] = draw(ODD)
            elif what == "remove":
                del holder[last]
            elif isinstance(holder, list):
                holder.insert(last, copy.deepcopy(holder[last]))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took the place away
    return found


@pytest.mark.slow("draws hundreds of edited results")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=edited())
def test_edited_results_are_refused_in_a_line_or_shown(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({Results.KEY: content}))
    said = ""
    try:
        show(read(path))
    except UserError as error:
        said = str(error)
    assert "\n" not in said


def show(results: Results) -> None:
    """Make all that can be made of results."""
    whole = made_up_results()
    page(results, [])
    markdown(results)
    summary_lines(results)
    for pair in ((results, whole), (whole, results)):
        found = compare_runs(*pair, gate=True)
        changes.lines(found, everything=True)
        changes.markdown(found)
    history([whole, results])


def test_truncated_and_foreign_files_are_told(tmp_path: Path) -> None:
    text = json.dumps({Results.KEY: WHOLE})
    for content in (text[: len(text) // 2], "[]", "{}", '{"benchmarks": []}', "\x00", "[" * 100_000, ""):
        path = tmp_path / "results.json"
        path.write_text(content)
        with pytest.raises(UserError) as error:
            read(path)
        assert "\n" not in str(error.value)


def test_text_in_a_file_is_one_line_of_printable_letters(tmp_path: Path) -> None:
    """Wherever it stands: a terminal obeys control characters, and no XML may hold them."""
    evil = "a\x1b[31m\x00\x9b <b>\n$x$ 批"
    content = copy.deepcopy(WHOLE)
    content["machine"] |= {"cpu_model": evil, "numpy_blas": evil, "versions": {evil: evil, "numpy": evil}}
    content |= {"data": evil, "notes": [evil], "against": evil}
    for of in content["workloads"]:
        of["peak"]["what"] = evil
    path = tmp_path / "results.json"
    path.write_text(json.dumps({Results.KEY: content}))
    results = read(path)
    said = (*summary_lines(results), *changes.lines(compare_runs(results, made_up_results()), everything=True))
    assert "a\ufffd[31m\ufffd\ufffd <b> $x$ 批" in results.notes
    assert not [line for line in said if not line.isprintable()]
    drawn = [each for each in draw(results, tmp_path / "plots") if each.suffix == ".svg"]
    assert drawn
    for each in drawn:
        ET.parse(each)
    (of,) = results.workloads
    of.workload = msgspec.structs.replace(of.workload, sweep="../../evil")
    assert draw(results, tmp_path / "plots") == []
