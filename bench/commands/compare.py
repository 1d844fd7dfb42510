"""`backprop compare`: two rows of a run."""

from pathlib import Path

import click

from bench.report.text import interval_text, number_text
from bench.results.compare import Comparison, compare_rows
from bench.results.estimates import FEW_ROUNDS
from bench.results.files import LATEST, read
from bench.results.notes import MIN_PROCESSES, few_processes_text, few_rounds_text


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
    for workload, found in compare_rows(read(path), slow, fast).items():
        interval = f" ({interval_text(found.ratio)})" if found.ratio.low is not None else ""
        click.echo(f"{workload}: {fast} is {number_text(found.ratio.value)} times as fast as {slow}{interval}")
        for note in _notes(found):
            click.echo(f"note: {workload}: {note}")


def _notes(found: Comparison) -> list[str]:
    """Return what a comparison that rests on little has against it."""
    notes = [few_processes_text(found.processes)] if found.processes < MIN_PROCESSES else []
    return notes + ([few_rounds_text(found.rounds, found.rounds)] if found.rounds < FEW_ROUNDS else [])
