"""`backprop scale`: strong and weak scaling over MPI ranks, and a model of what lies beyond this machine.

Efficiencies are ratios within a generation, as speed-ups are (bench/analysis/estimates.py): of one mini-batch shared by
R ranks, T_1 / (R T_R); of one mini-batch for each, T_1 / T_R.
"""

import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from bench.analysis.estimates import geometric_mean, lower_quartile
from bench.analysis.scaling import FILE, Point, Scaling, compute_of, fabric_between
from bench.cli.options import Seconds, positive
from bench.output.progress import report_progress
from bench.output.scaling_table import lines
from bench.records import UNREADABLE
from bench.runner import machine
from bench.runner.launch import clean, command
from bench.runner.worker_environment import environment
from bench.system.files import check_writable, write_whole
from bench.system.processes import kill_with_children
from bench.worker.scaling_job import JobTimes, Task
from bench.workloads.names import DTYPES, MAX_SIZE, parse_sizes
from impls.registry import find
from impls.support.errors import UserError

MAX_RANKS_HERE = 256


class Case(NamedTuple):
    """One kind of job."""

    ranks: int
    batch_size: int  # of all ranks together


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
    if not entry.engine:
        raise UserError(f"--impl={implementation}: expected mpi, or mpi-ENGINE as mpi-rust_fused")
    check_writable(results)
    from bench.output.plots import curves, drawing

    task = Task(entry.target, sizes, batch_size, dtype, seconds)
    with report_progress(Console(stderr=True)) as progress:
        times = run_jobs(task, ranks, generations, time_out, progress)
    scaling = scaling_of(entry.name, task, ranks, times)
    click.echo("\n".join(lines(scaling)))
    path = results / FILE.name
    write_whole(path, msgspec.json.format(msgspec.json.encode(scaling), indent=1) + b"\n")
    click.echo(f"results: {path}")
    with drawing.style():
        for name, draw in (("scaling", curves.scaling_here), ("scaling-model", curves.scaling_beyond)):
            click.echo(f"plot: {drawing.save(draw(scaling), results / f'{name}.png')}")


def run_jobs(
    task: Task, ranks: Sequence[int], generations: int, time_out: float, progress: Callable[[str, float], None]
) -> dict[Case, list[JobTimes]]:
    """Run jobs of every kind in random order, in several generations. Raises UserError if a job fails."""
    batch = task.batch_size
    kinds = ({Case(count, batch), Case(count, batch * count), Case(1, max(1, batch // count))} for count in ranks)
    cases = sorted(set().union(*kinds))
    times: dict[Case, list[JobTimes]] = {case: [] for case in cases}
    order = random.Random(0)
    for generation in range(generations):
        for number, case in enumerate(order.sample(cases, len(cases))):
            done = (generation + number / len(cases)) / generations
            progress(f"generation {generation + 1} of {generations}: {case.ranks} ranks", done)
            times[case].append(run_job(msgspec.structs.replace(task, batch_size=case.batch_size), case.ranks, time_out))
    progress("done", 1.0)
    return times


def run_job(task: Task, ranks: int, time_out: float) -> JobTimes:
    """Run a job to its end. Raises UserError with its last words if it fails or takes too long."""
    with subprocess.Popen(
        command(ranks, "bench.worker.scaling_job", msgspec.json.encode(task).decode()),
        env=environment(1, launched=True),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    ) as process:
        try:
            output, errors = process.communicate(timeout=time_out)
        except BaseException as error:
            kill_with_children(process.pid)
            process.wait()
            clean(process.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise UserError(f"{ranks} ranks: no answer within {time_out:g} s; see --time-out") from None
            raise
    try:
        return msgspec.json.decode(output, type=JobTimes)
    except UNREADABLE:
        last = errors.decode(errors="replace").splitlines()
        words = next((line for line in last if "error: " in line), " ".join(last)[-300:] or "no word")
        raise UserError(f"{ranks} ranks: the job ended with {process.returncode}: {words}") from None


def scaling_of(name: str, task: Task, ranks: Sequence[int], times: Mapping[Case, list[JobTimes]]) -> Scaling:
    """Return what the jobs' times say: efficiencies, and what the model needs."""
    batch = task.batch_size
    points = [_point("strong", times, Case(count, batch), batch) for count in ranks]
    points += [_point("weak", times, Case(count, batch * count), batch) for count in ranks]
    alone = {case.batch_size: jobs for case, jobs in times.items() if case.ranks == 1}
    pairs = [job.allreduce for case, jobs in times.items() if case.ranks == 2 for job in jobs]
    here = {size: lower_quartile([seconds[size] for seconds in pairs]) for size in pairs[0]} if pairs else {}
    return Scaling(
        schema=1,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=machine.facts(),
        implementation=name,
        sizes=task.sizes,
        dtype=task.dtype,
        generations=len(times[Case(1, batch)]),
        buffer_bytes=max((size for jobs in times.values() for job in jobs for size in job.allreduce), default=0),
        points=points,
        compute=compute_of({size: geometric_mean([job.step for job in jobs]).value for size, jobs in alone.items()}),
        here=fabric_between(here) if here else None,
    )


def _point(kind: str, times: Mapping[Case, list[JobTimes]], case: Case, batch_size: int) -> Point:
    """Return a point from the jobs of a case and those of one rank, generation by generation."""
    jobs, alone = times[case], times[Case(1, batch_size)]
    share = case.ranks if kind == "strong" else 1
    ratios = [one.step / (share * several.step) for one, several in zip(alone, jobs, strict=True)]
    return Point(
        scaling=kind,
        ranks=case.ranks,
        batch_size=case.batch_size,
        step=geometric_mean([job.step for job in jobs]),
        compute=geometric_mean([job.compute for job in jobs]),
        communication=geometric_mean([job.communication for job in jobs]),
        efficiency=geometric_mean(ratios),
    )
