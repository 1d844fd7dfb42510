"""What pages show of a committed `scaling.json`: what their markers name (bench/report/pages.py)."""

from bench.report import figures
from bench.report.figure_tables import as_block
from bench.scaling.record import read
from bench.scaling.table import HEADER, cells, errors_text, here_text, predicted_cells


def scaling_table(run: str) -> str:
    """Return the table of what was measured."""
    found = read(figures.REFERENCE / run / "scaling.json")
    lines = [f"| {' | '.join(HEADER)} |", "| --- |" + " ---: |" * (len(HEADER) - 1)]
    return as_block(lines + [f"| {' | '.join(cells(point, found.cpus))} |" for point in found.points])


def scaling_errors(run: str) -> str:
    """Return by how much the model misses the measured steps."""
    return errors_text(read(figures.REFERENCE / run / "scaling.json"))


def scaling_here(run: str) -> str:
    """Return latency and bandwidth between two ranks of the machine."""
    here = read(figures.REFERENCE / run / "scaling.json").here
    return here_text(here) if here else figures.NOT_MEASURED


def scaling_predicted(run: str) -> str:
    """Return the table of what the model predicts for the largest number of ranks."""
    found = read(figures.REFERENCE / run / "scaling.json")
    lines = [
        f"| fabric | latency | bandwidth | Allreduce | efficiency, {found.batch} a rank | could hide from |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return as_block(lines + [f"| {' | '.join(cells_of)} |" for cells_of in predicted_cells(found)])
