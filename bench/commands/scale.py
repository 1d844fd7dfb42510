"""`backprop scale`: strong and weak scaling over MPI ranks, and a model of what lies beyond this machine."""

from pathlib import Path

import click
import msgspec
from rich.console import Console

from bench.files import check_writable, write_whole
from bench.options import Seconds, positive
from bench.problem.workloads import DTYPES, MAX_SIZE, parse_sizes
from bench.progress import report_progress
from bench.scaling.record import FILE
from impls.errors import UserError
from impls.registry import find

MAX_RANKS_HERE = 256


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    return parse_sizes(text, f"--sizes {text[:40]}: expected layer sizes as 784-512-512-10")


def _ranks(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        numbers = {int(positive("--ranks", number, whole=True)) for number in text.split(",")}
    except UserError:
        numbers = set()
    if not numbers or max(numbers) > MAX_RANKS_HERE:
        raise UserError(f"--ranks {text[:40]}: expected numbers from 1 to {MAX_RANKS_HERE} as 1,2,4")
    return tuple(sorted({1, *numbers}))


@click.command()
@click.option("--ranks", callback=_ranks, default="1,2,4", show_default=True)
@click.option(
    "--impl", "implementation", default="mpi", show_default=True, help="mpi, or mpi-ENGINE as mpi-rust_fused."
)
@click.option("--sizes", callback=_sizes, default="784-512-512-10", show_default=True, help="Units per layer.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, MAX_SIZE),
    default=256,
    show_default=True,
    help="Of all ranks together (strong), and of each (weak).",
)
@click.option("--dtype", type=click.Choice(DTYPES), default="float64", show_default=True)
@click.option("--generations", type=click.IntRange(1), default=5, show_default=True, help="Jobs of each kind.")
@click.option("--seconds", type=Seconds(), default=0.5, show_default=True, help="Per job.")
@click.option("--time-out", type=Seconds(), default=120.0, show_default=True, help="Per job.")
@click.option("--results", type=click.Path(path_type=Path), default=FILE.parent, show_default=True)
def scale(
    ranks: tuple[int, ...],
    implementation: str,
    sizes: tuple[int, ...],
    batch_size: int,
    dtype: str,
    generations: int,
    seconds: float,
    time_out: float,
    results: Path,
) -> None:
    """Measure strong and weak scaling over MPI ranks here, and predict efficiency for three fabrics.

    \b
    backprop scale --ranks=1,2,4 --impl=mpi-rust_fused
    """
    entry = find(implementation)
    if not hasattr(entry.load(), "check_every"):
        raise UserError(f"--impl={implementation}: expected mpi, or mpi-ENGINE as mpi-rust_fused")
    check_writable(results)
    from bench.report.drawing import save, style  # matplotlib takes half a second
    from bench.scaling import measure, plot, table

    asked = measure.Asked(ranks, sizes, batch_size, dtype, generations, seconds, time_out)
    with report_progress(Console(stderr=True)) as progress:
        found = measure.scaling(entry, asked, progress)
        progress("done", 1.0)
    for line in table.lines(found):
        click.echo(line)
    path = results / FILE.name
    write_whole(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    click.echo(f"results: {path}")
    with style():
        for name, figure in (("scaling", plot.measured(found)), ("scaling-model", plot.modelled(found))):
            click.echo(f"plot: {save(figure, results / f'{name}.png')}")
