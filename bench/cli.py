"""The command line, `backprop`: list, verify, train, bench, plot, compare, profile, data."""

import json
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import results
from bench.errors import UserError
from bench.workloads import DTYPES, LARGEST_SIZE, cores, usable_cpus
from impls import RowError, Unavailable, find, load, rows
from profiles.cli import profile

BENCH = Path(__file__).parent
INTERRUPTED = 130


def main() -> None:
    """Run the command line; tell an error that the user can mend in one line, unless --debug is given."""
    try:
        status = cli.main(standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        print("backprop: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        sys.exit(_tell(error.format_message(), error.exit_code))
    except (UserError, RowError) as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(_tell(str(error), getattr(error, "exit_status", 2)))
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(_tell(f"{type(error).__name__}: {error} (--debug shows where)", 1))
    sys.exit(status if isinstance(status, int) else 0)


def _tell(message: str, status: int) -> int:
    print(f"backprop: error: {' '.join(message.split())}", file=sys.stderr)
    return status


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="backprop-bench")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Backpropagation in many implementations: checked, timed, plotted."""


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_rows(as_json: bool) -> None:
    """List the implementations and whether they can run here."""
    known = [(row, row.unavailable()) for row in rows().values()]
    if as_json:
        found = [
            {"name": row.name, "available": reason is None, "reason": reason, "summary": row.summary}
            for row, reason in known
        ]
        click.echo(json.dumps(found, indent=1))
        return
    table = Table("implementation", "available", "what it is", box=None, pad_edge=False)
    for row, reason in known:
        table.add_row(row.name, "yes" if reason is None else f"no: {reason}", row.summary)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200).print(table)


@cli.command()
@click.argument("implementation", metavar="NAME|PATH:CLASS")
@click.option("--time-out", type=click.FloatRange(min=0, min_open=True), default=300.0, help="Seconds to wait.")
def verify(implementation: str, time_out: float) -> int:
    """Check an implementation against the contract; exit with 1 if it does not conform."""
    from bench.process import WorkerFailed, WorkerProcess

    row = find(implementation)
    reason = row.unavailable()
    if reason:
        raise Unavailable(f"{row.name} is unavailable: it {reason}")
    worker = WorkerProcess(1, usable_cpus(), time_out)
    try:
        worker.ask("start", implementation=implementation)
        violations = worker.ask("verify")["violations"]
    except WorkerFailed as failure:
        click.echo(f"{row.name}: {failure.outcome}: {failure}")
        return 1
    finally:
        worker.close()
    for violation in violations:
        click.echo(f"{row.name}: {violation}")
    if not violations:
        click.echo(f"{row.name}: conforms")
    return 1 if violations else 0


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Parse layer sizes written as 784-30-10."""
    fields = text.split("-")
    if len(fields) < 2 or not all(field.isdecimal() and 1 <= int(field) <= LARGEST_SIZE for field in fields):
        raise click.BadParameter(f"expected positive layer sizes as 784-30-10, found {text!r}")
    return tuple(map(int, fields))


@cli.command()
@click.option("--impl", "implementation", default="in_place", show_default=True, metavar="NAME|PATH:CLASS")
@click.option("--sizes", callback=_sizes, default="784-30-10", show_default=True, help="Units per layer.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
@click.option("--batch-size", type=click.IntRange(1, LARGEST_SIZE), default=10, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(DTYPES), default="float64", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--data", metavar="digits|mnist|DIR", help="Data set (default: BACKPROP_MNIST if set, else digits).")
@click.option("--save", type=click.Path(path_type=Path), help="Save the trained network to this .npz file.")
def train(
    implementation: str,
    sizes: tuple[int, ...],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    dtype: str,
    threads: int,
    data: str | None,
    save: Path | None,
) -> None:
    """Train a network by the book's stochastic gradient descent and print how many test images it gets right."""
    from bench import training
    from bench.data import load as load_data

    if threads > cores():
        raise UserError(f"--threads {threads}: this process may use {cores()} cores; ask for at most that many")
    run = training.train(
        load(implementation), load_data(data), sizes, epochs, batch_size, learning_rate, seed, dtype, threads
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{implementation}, {epochs} epochs", total=epochs)
        for epoch in run:
            print(f"Epoch {epoch.index}: {epoch.correct} / {epoch.total}", flush=True)
            progress.advance(task)
    if save:
        training.save(save, epoch.parameters)
        click.echo(f"saved: {save}")


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def bench(options: tuple[str, ...]) -> int:
    """Run the benchmark: `pytest bench/ --benchmark-only` with any further options of pytest.

    Ours are --impl, --all, --workload, --sweep, --data, --generations, --seconds, --budget, --time-out, --results.
    """
    if options in (("--help",), ("-h",)):
        click.echo(bench.get_help(click.get_current_context()))
        return 0
    arguments = [str(BENCH), "-p", "no:cacheprovider", *options]
    if "--benchmark-disable" not in options:
        arguments.append("--benchmark-only")
    return int(pytest.main(arguments))


@cli.command()
@click.argument("path", metavar="RESULTS.json", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the plots (default: beside the file).")
def plot(path: Path, out: Path | None) -> None:
    """Draw the plots of a results file again."""
    from bench.plots import draw

    for drawn in draw(results.read(path), out or path.parent):
        click.echo(f"plot: {drawn}")


@cli.command()
@click.argument("path", metavar="RESULTS.json", type=click.Path(path_type=Path))
@click.argument("slow", metavar="ROW")
@click.argument("fast", metavar="ROW")
def compare(path: Path, slow: str, fast: str) -> None:
    """Tell how many times faster the second row is than the first, with 95 % intervals from their paired samples."""
    for workload, (value, low, high) in results.compare(results.read(path), slow, fast):
        click.echo(f"{workload}: {fast} is {value:.3g} times as fast as {slow} ({low:.3g} to {high:.3g})")


cli.add_command(profile)


@cli.group()
def data() -> None:
    """The data sets."""


@data.command()
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder (default: the user's cache).")
def fetch(folder: Path | None) -> None:
    """Download MNIST, checked, to the user's cache or to a folder."""
    from bench.data import fetch as fetch_data

    click.echo(f"MNIST is in {fetch_data(folder)}")
