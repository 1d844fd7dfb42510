"""`backprop train`: the book's stochastic gradient descent with any implementation."""

from pathlib import Path
from typing import Any

import click
import msgspec

from bench import training
from bench.cli.options import complete_implementations
from bench.system.cpus import cores, cores_text
from bench.system.files import check_file, check_writable
from bench.training import Epoch, TrainingSettings
from bench.workloads.data import Dataset, load
from bench.workloads.names import DTYPES, MAX_SIZE, parse_sizes
from impls.interface import Implementation, Parameters
from impls.registry import Entry, find_all
from impls.support.errors import UserError
from impls.support.mpiexec import launched, rank
from impls.support.ranks import bounded, communicator, ending_the_job


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
    shell_complete=complete_implementations,
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
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Write this .npz file after every epoch.")
@click.option("--resume", is_flag=True, help="Go on where the file of --checkpoint ends.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw accuracy against time to this .png or .svg file.")
def train(
    implementations: tuple[str, ...],
    data: str | None,
    save: Path | None,
    checkpoint: Path | None,
    resume: bool,
    plot: Path | None,
    **settings_given: Any,
) -> None:
    """Train a network by the book's stochastic gradient descent and print how many test images it gets right.

    Under mpiexec, with an implementation such as mpi, all ranks train one network, each on its share of the examples.

    Example, the learning curves of three implementations:

    \b
    backprop train --impl=per_example --impl=in_place --impl=numba --plot=curves
    """
    settings = TrainingSettings(**settings_given)
    if settings.threads > cores():
        raise UserError(f"--threads {settings.threads}: {cores_text()}; ask for at most that many")
    if resume and not checkpoint:
        raise UserError("--resume: expected --checkpoint=FILE beside it, found none; name the file to go on from")
    with ending_the_job():
        entries = find_all(implementations)
        _check_paths(len(entries), [path for path in (save, checkpoint) if path], plot)
        dataset, runs = load(data), dict[str, list[Epoch]]()
        for entry in entries:
            if len(entries) > 1 and rank() == 0:
                print(f"{entry.name}:", flush=True)
            runs[entry.name], parameters = _train(entry, dataset, settings, checkpoint, resume)
        if rank() > 0:
            return
        if save and parameters is not None:
            training.save(save, parameters)
            click.echo(f"saved: {save}")
        if plot and any(runs.values()):
            _draw(runs, dataset, settings, plot)


def _check_paths(implementations: int, paths: list[Path], plot: Path | None) -> None:
    """Raise UserError if a file cannot be written: better before hours of work than after them."""
    for path in paths:
        if implementations > 1:
            raise UserError(f"{path}: expected one implementation, found {implementations}: each would overwrite it")
        check_file(path)
    if plot:
        check_writable(plot.parent)


def _train(
    entry: Entry, dataset: Dataset, settings: TrainingSettings, checkpoint: Path | None, resume: bool
) -> tuple[list[Epoch], Parameters | None]:
    """Train, printing a line per epoch on rank 0; return the epochs and the parameters that they led to."""
    implementation_class, name = entry.load(), entry.implementation
    ranks = _ranks(implementation_class, name)
    settings = msgspec.structs.replace(settings, implementation=name, data=dataset.name, ranks=ranks)
    done, parameters = _resume(checkpoint, settings) if checkpoint and resume else (0, None)
    if done >= settings.epochs and rank() == 0:
        click.echo(f"{checkpoint}: {done} epochs are done, of {settings.epochs} asked for")
    epochs = []
    for epoch in training.train(implementation_class, dataset, settings, done, parameters):
        epochs.append(epoch)
        parameters = epoch.parameters
        if rank() == 0:
            print(f"Epoch {epoch.index}: {epoch.correct} / {epoch.total}", flush=True)
            if checkpoint:
                training.write_checkpoint(checkpoint, settings, epoch)
    return epochs, parameters


def _ranks(implementation_class: type[Implementation], name: str) -> int:
    """Return how many ranks train. Raises UserError if there are several, and the implementation knows of one only."""
    knows_ranks = hasattr(implementation_class, "check_ranks")
    ranks = int(communicator().size) if launched() or knows_ranks else 1
    if ranks > 1 and not knows_ranks:
        raise UserError(
            f"--impl={name}: expected an implementation that {ranks} ranks compute together, such as mpi, found one "
            "that each would train alone; add --impl=mpi or leave mpiexec out"
        )
    return ranks


def _resume(path: Path, settings: TrainingSettings) -> tuple[int, Parameters]:
    """Return how many epochs are done according to a checkpoint, as rank 0 reads it, and the parameters after them."""
    try:
        content = path.read_bytes() if rank() == 0 else b""
    except OSError as error:
        words = "leave --resume out to start one"
        raise UserError(f"{path}: there is no checkpoint to resume ({error.strerror}); {words}") from error
    if settings.ranks > 1:
        with bounded(communicator(), "to read a checkpoint"):
            content = communicator().bcast(content)
    return training.resume(path, content, settings)


def _draw(runs: dict[str, list[Epoch]], dataset: Dataset, settings: TrainingSettings, path: Path) -> None:
    from bench.output.plots import curves, drawing

    network = "-".join(map(str, settings.sizes))
    what = f"{dataset.name} · {network} · batch {settings.batch_size} · rate {settings.learning_rate:g}"
    with drawing.style():
        figure = curves.training(runs, f"{what} · {settings.dtype}")
        click.echo(f"plot: {drawing.save(figure, path if path.suffix == '.svg' else path.with_suffix('.png'))}")
