"""`backprop plot`: the plots of a run, drawn again."""

from pathlib import Path

import click

from bench.results.files import LATEST, read


@click.command()
@click.argument("path", metavar="[RESULTS.json]", type=click.Path(path_type=Path), default=LATEST)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the plots (default: beside the file).")
def plot(path: Path, out: Path | None) -> None:
    """Draw the plots of a results file again; of the latest run if none is named.

    \b
    backprop plot results/reference/default/results.json --out=/tmp/plots
    """
    from bench.report.plots import draw  # matplotlib takes half a second

    drawn = draw(read(path), out or path.parent)
    for path_of_plot in drawn:
        click.echo(f"plot: {path_of_plot}")
    if not drawn:
        click.echo("plot: none; this run has nothing that can be drawn")
