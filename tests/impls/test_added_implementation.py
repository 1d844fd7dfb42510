"""An implementation is a file and an entry of the registry: lists, tables, plots, profiles and pages follow."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from made_up_results import made_up_results, row

from bench.cli.list import list_implementations
from bench.output.page.page import page
from bench.output.plots import palette
from bench.output.plots.run_plots import draw
from bench.output.table import summary_lines
from impls import registry
from impls.registry import ENTRIES, Entry, find
from impls.support.loading import Target
from profiles.recorder import unseen
from profiles.stacks import category

SOURCE = """
from impls.batched_2d import Batched2D


class Added(Batched2D):
    pass
"""


@pytest.mark.parametrize("family", [registry.NUMPY, registry.OTHER])
def test_a_file_and_an_entry_are_all_that_it_needs(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "added.py").write_text(SOURCE)
    entry = Entry(
        "added", Target(str(tmp_path / "added.py"), "Added"), "added by a test", family=family, unseen="its helper"
    )
    others = {palette.look(name).colour for name in ENTRIES}
    monkeypatch.setitem(ENTRIES, "added", entry)
    monkeypatch.setattr(palette, "LOOKS", palette.looks())
    assert find("added").load().__name__ == "Added"
    assert "added by a test" in CliRunner().invoke(list_implementations).output

    look = palette.look("added")
    assert look.colour not in others
    assert look.marker == palette.MARKERS[family]

    results = made_up_results()
    results.rows.append(row("added", 3e-5, 13.0))
    assert any(line.startswith("added ") for line in map(str.strip, summary_lines(results, whole=True)))
    svg = "".join(path.read_text() for path in draw(results, tmp_path / "plots", "svg"))
    assert look.colour in svg
    html = page(results, [], [results])
    assert "added" in html
    assert look.colour in html

    assert unseen(entry, 1) == "its helper"
    assert category(("step (interface.py:200)", "gradients (added.py:5)")) == "Python"
