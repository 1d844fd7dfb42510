"""`backprop train`: the book's stochastic gradient descent with any implementation."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from bench import training
from bench.atomic import check_writable
from bench.cpus import cores
from bench.problem.data import load
from bench.problem.workloads import DTYPES, MAX_SIZE, parse_sizes
from bench.training import Epoch
from impls.errors import UserError
from impls.registry import find_all


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    return parse_sizes(text, f"--sizes {text[:40]}: expected layer sizes as 784-30-10")


@click.command()
@click.option(
    "--impl",
    "implementations",
    multiple=True,
    default=("in_place",),
    show_default=True,
    metavar="[LABEL=]NAME|PATH:CLASS",
    help="Repeatable: one after the other.",
)
@click.option("--sizes", callback=_sizes, default="784-30-10", show_default=True, help="Units per layer.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
@click.option("--batch-size", type=click.IntRange(1, MAX_SIZE), default=10, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(DTYPES), default="float64", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--data", metavar="digits|mnist|DIR", help="Data set (default: mnist if BACKPROP_MNIST is set, else digits)."
)
@click.option("--save", type=click.Path(path_type=Path), help="Save the trained network to this .npz file.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw accuracy against time to FILE.svg and FILE.png.")
def train(
    implementations: tuple[str, ...],
    sizes: tuple[int, ...],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    dtype: str,
    threads: int,
    data: str | None,
    save: Path | None,
    plot: Path | None,
) -> None:
    """Train a network by the book's stochastic gradient descent and print how many test images it gets right.

    Example, the learning curves of three implementations:

    \b
    backprop train --impl=per_example --impl=in_place --impl=numba --plot=curves
    """
    if threads > cores():
        raise UserError(f"--threads {threads}: this process may use {cores()} cores; ask for at most that many")
    entries = find_all(implementations)
    if save and len(entries) > 1:
        raise UserError(f"--save {save}: expected one implementation, found {len(entries)}: each would overwrite it")
    for path in filter(None, (save, plot)):
        check_writable(path.parent)
    dataset = load(data)
    runs: dict[str, list[Epoch]] = {}
    console = Console(stderr=True)
    for entry in entries:
        run = training.train(entry.load(), dataset, sizes, epochs, batch_size, learning_rate, seed, dtype, threads)
        if len(entries) > 1:
            print(f"{entry.name}:", flush=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"{entry.name}, {epochs} epochs", total=epochs)
            for epoch in run:
                print(f"Epoch {epoch.index}: {epoch.correct} / {epoch.total}", flush=True)
                runs.setdefault(entry.name, []).append(epoch)
                progress.advance(task)
    if save:
        training.save(save, epoch.parameters)
        click.echo(f"saved: {save}")
    if plot:
        what = f"{dataset.name} · {'-'.join(map(str, sizes))} · batch {batch_size} · rate {learning_rate:g} · {dtype}"
        _draw(runs, what, plot)


def _draw(runs: dict[str, list[Epoch]], what: str, path: Path) -> None:
    from bench.report.drawing import save as save_figure  # matplotlib takes half a second
    from bench.report.drawing import style
    from bench.report.training_plot import accuracy_against_time

    with style():
        for drawn in save_figure(accuracy_against_time(runs, what), path.with_suffix("")):
            click.echo(f"plot: {drawn}")
