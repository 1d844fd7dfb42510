"""Figures in pages: what stands between two markers is written from committed results, never by hand.

A marker in a page names a figure and its arguments, and a second one ends it:

    <!--= speed_up default book in_place -->11.3 (11.2 to 11.5)<!--/-->

`FIGURES` has the figures by name. The first argument of most is a reference run, a folder of `results/reference/`.
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from bench.report import figure_tables, figures, gate_figures
from impls import ROOT
from impls.errors import UserError
from impls.registry import entries

MARKED = re.compile(r"<!--= (?P<figure>[^>]*?) -->(?P<text>.*?)<!--/-->", re.DOTALL)


def written(page: str) -> str:
    """Return a page with all figures made anew. Raises UserError if a marker names none."""

    def figure(match: re.Match[str]) -> str:
        return f"<!--= {match['figure']} -->{_figure(match['figure'])}<!--/-->"

    opened, found = page.count("<!--="), len(MARKED.findall(page))
    if opened != found or page.count("<!--/-->") != found:
        raise UserError(f"figures: {opened} markers begin a figure, {page.count('<!--/-->')} end one, {found} do both")
    return MARKED.sub(figure, page)


def pages() -> list[Path]:
    """Return the project's pages, all of which may hold figures."""
    return [
        ROOT / "README.md",
        ROOT / "profiles" / "README.md",
        *sorted((ROOT / "results" / "notes").glob("*.md")),
        *sorted((ROOT / "results" / "reference").glob("*.md")),
    ]


def _figure(words: str) -> str:
    name, *arguments = words.split() or [""]
    if name not in FIGURES:
        raise UserError(f"figures: no figure is called {name!r}; known: {', '.join(FIGURES)}")
    try:
        return FIGURES[name](*arguments)
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"figures: {words}: {error}") from error


def rows() -> str:
    """Return the table of the implementations."""
    lines = ["| row | what it is |", "| --- | --- |"]
    lines += [f"| `{entry.name}` | {entry.summary} |" for entry in entries().values()]
    return figure_tables.as_block(lines)


def _of(module: str, name: str) -> Callable[..., str]:
    """Return a figure of a module that lies above this one, and is imported when it is used."""

    def figure(*arguments: str) -> str:
        found: str = getattr(importlib.import_module(module), name)(*arguments)
        return found

    return figure


FIGURES: dict[str, Callable[..., str]] = {
    **{
        figure.__name__: figure
        for figure in (
            figures.conditions,
            figures.told_slower,
            figures.half_width,
            figures.generations_of,
            figures.control_range,
            figures.held,
            figures.overhead,
            figures.peak,
            figures.peak_rate,
            figures.percent,
            figures.ratio,
            figures.reference_percent,
            figures.reference_rate,
            figures.speed_up,
            figures.threads,
            figures.time,
            figures.widths,
            figure_tables.compiled,
            figure_tables.frameworks,
            figure_tables.ladder,
            figure_tables.post,
            gate_figures.against_called,
            gate_figures.against_found,
            gate_figures.between_runs,
            gate_figures.gates_failed,
            rows,
            figure_tables.runs_of_the_control,
            figure_tables.table,
            figure_tables.times_of_runs,
        )
    },
    **{
        name: _of("bench.report.growth_tables", name)
        for name in ("gains_of_threads", "growth", "growth_with_width", "model_of_a_step", "weak_scaling")
    },
    **{
        name: _of("bench.scaling.pages", name)
        for name in ("scaling_errors", "scaling_here", "scaling_predicted", "scaling_table")
    },
    **{name: _of("profiles.figures", name) for name in ("frame_share", "samples", "share", "share_table", "slowed")},
}
