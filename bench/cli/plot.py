"""`backprop plot`: the plots of a run, drawn again."""

from pathlib import Path

import click

from bench.analysis.results_files import LATEST, file_of, read


@click.command()
@click.argument("path", metavar="[RESULTS]", type=click.Path(path_type=Path), default=LATEST)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the plots (default: beside the file).")
@click.option("--format", "file_format", type=click.Choice(("png", "svg")), default="png", show_default=True)
def plot(path: Path, out: Path | None, file_format: str) -> None:
    """Draw the plots of a results file, or of the folder of a run, again; of the latest run if none is named.

    \b
    backprop plot results/reference/default --out=/tmp/plots
    """
    from bench.output.plots.run_plots import draw  # matplotlib takes half a second

    file = file_of(path)
    drawn = draw(read(file), out or file.parent, file_format)
    for path_of_plot in drawn:
        click.echo(f"plot: {path_of_plot}")
    if not drawn:
        click.echo("plot: none; this run has nothing that can be drawn")
