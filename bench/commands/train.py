"""`backprop train`: the book's stochastic gradient descent with any implementation."""

from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from bench import checkpoint as checkpoints
from bench import training
from bench.atomic import check_file, check_writable
from bench.checkpoint import Course
from bench.completion import rows
from bench.cpus import cores, cores_text
from bench.problem.data import load
from bench.problem.dataset import Dataset
from bench.problem.workloads import DTYPES, MAX_SIZE, parse_sizes
from bench.training import Epoch
from impls.errors import UserError
from impls.interface import Implementation, Parameters
from impls.mpiexec import launched, rank
from impls.ranks import bounded, communicator, ending_the_job
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
    shell_complete=rows,
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
    checkpoint: Path | None,
    resume: bool,
    plot: Path | None,
) -> None:
    """Train a network by the book's stochastic gradient descent and print how many test images it gets right.

    Under mpiexec, with a row such as mpi, all ranks train one network, each on its share of the examples.

    Example, the learning curves of three implementations:

    \b
    backprop train --impl=per_example --impl=in_place --impl=numba --plot=curves
    """
    if threads > cores():
        raise UserError(f"--threads {threads}: {cores_text()}; ask for at most that many")
    if resume and not checkpoint:
        raise UserError("--resume: expected --checkpoint=FILE beside it, found none; name the file to go on from")
    with ending_the_job():
        entries = find_all(implementations)
        for option, path in (("save", save), ("checkpoint", checkpoint)):
            if path and len(entries) > 1:
                message = f"expected one implementation, found {len(entries)}: each would overwrite it"
                raise UserError(f"--{option} {path}: {message}")
        for path in filter(None, (save, checkpoint)):
            check_file(path)
        if plot:
            check_writable(plot.parent)
        dataset, runs = load(data), dict[str, list[Epoch]]()
        for entry in entries:
            job = Job(
                entry.load(), entry.implementation, dataset, sizes, batch_size, learning_rate, seed, dtype, threads
            )
            if len(entries) > 1 and rank() == 0:
                print(f"{entry.name}:", flush=True)
            runs[entry.name], parameters = _run(job, entry.name, epochs, checkpoint, resume)
        if rank() > 0:
            return
        if save and parameters is not None:
            training.save(save, parameters)
            click.echo(f"saved: {save}")
        if plot and any(runs.values()):
            network = "-".join(map(str, sizes))
            _draw(runs, f"{dataset.name} · {network} · batch {batch_size} · rate {learning_rate:g} · {dtype}", plot)


@dataclass(frozen=True)
class Job:
    """One training, as asked for."""

    cls: type[Implementation]
    implementation: str
    dataset: Dataset
    sizes: tuple[int, ...]
    batch_size: int
    learning_rate: float
    seed: int
    dtype: str
    threads: int

    def ranks(self) -> int:
        """Return how many ranks train. Raises UserError if there are several and the row knows of one only."""
        if not (launched() or hasattr(self.cls, "check_ranks")):
            return 1
        ranks = int(communicator().size)
        if ranks > 1 and not hasattr(self.cls, "check_ranks"):
            raise UserError(
                f"--impl={self.implementation}: expected a row that {ranks} ranks compute together, such as mpi, found "
                "one that each would train alone; add --impl=mpi or leave mpiexec out"
            )
        return ranks

    def resumed(self, path: Path, course: Course) -> training.Resumed:
        """Return where a checkpoint goes on, as rank 0 reads it."""
        content = checkpoints.read(path) if rank() == 0 else b""
        if course.ranks > 1:
            with bounded(communicator(), "to read a checkpoint"):
                content = communicator().bcast(content)
        return checkpoints.resumed(path, content, course)


def _run(
    job: Job, name: str, epochs: int, checkpoint: Path | None, resume: bool
) -> tuple[list[Epoch], Parameters | None]:
    """Train, printing a line per epoch on rank 0; return the epochs and the parameters that they led to."""
    ranks = job.ranks()
    course = Course(
        job.implementation,
        job.sizes,
        job.batch_size,
        job.learning_rate,
        job.seed,
        job.dtype,
        Course.describe(job.dataset),
        ranks,
    )
    start = job.resumed(checkpoint, course) if checkpoint and resume else None
    settings = (job.sizes, epochs, job.batch_size, job.learning_rate, job.seed, job.dtype, job.threads)
    found: list[Epoch] = []
    console = Console(stderr=True)
    shown = console.is_terminal and rank() == 0
    if start and start.epochs >= epochs and rank() == 0:
        click.echo(f"{checkpoint}: {start.epochs} epochs are done, of {epochs} asked for")
    with Progress(console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(f"{name}, {epochs} epochs", total=epochs, completed=start.epochs if start else 0)
        for epoch in training.train(job.cls, job.dataset, *settings, resumed=start):
            found.append(epoch)
            if rank() == 0:
                print(f"Epoch {epoch.index}: {epoch.correct} / {epoch.total}", flush=True)
                if checkpoint:
                    checkpoints.write(checkpoint, course, epoch)
            progress.advance(task)
    return found, found[-1].parameters if found else start.parameters if start else None


def _draw(runs: dict[str, list[Epoch]], what: str, path: Path) -> None:
    from bench.report.drawing import save as save_figure  # matplotlib takes half a second
    from bench.report.drawing import style
    from bench.report.training_plot import accuracy_against_time

    with style():
        for drawn in save_figure(accuracy_against_time(runs, what), path.with_suffix("")):
            click.echo(f"plot: {drawn}")
