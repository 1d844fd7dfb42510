"""`backprop compare`: two rows of a run."""

from pathlib import Path

import click

from bench.report.text import interval_text, number_text
from bench.results.compare import compare_rows
from bench.results.files import LATEST, read


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[RESULTS.json] ROW ROW")
def compare(arguments: tuple[str, ...]) -> None:
    """Tell how many times as fast the second row is as the first, with 95 % intervals from their paired samples.

    Without a file, the rows are those of the latest run.
    """
    if len(arguments) not in (2, 3):
        raise click.UsageError(f"expected two rows, and a results file before them if need be, found {len(arguments)}")
    slow, fast = arguments[-2:]
    path = Path(arguments[0]) if len(arguments) == 3 else LATEST
    for workload, estimate in compare_rows(read(path), slow, fast).items():
        interval = f" ({interval_text(estimate)})" if estimate.low is not None else ""
        click.echo(f"{workload}: {fast} is {number_text(estimate.value)} times as fast as {slow}{interval}")
