"""`backprop scale`: strong and weak scaling over MPI ranks, and a model of what lies beyond this machine.

Efficiencies are ratios within a repetition of all jobs, as speed-ups are (bench/analysis/estimates.py): of one
mini-batch that R ranks share, T_1 / (R T_R); of one mini-batch for each, T_1 / T_R.
"""

import random
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from bench.analysis.estimates import geometric_mean, lower_quartile
from bench.analysis.scaling import FILE, Scaling, ScalingPoint, compute_of, fabric_between
from bench.cli.options import Seconds
from bench.output.progress import report_progress
from bench.output.scaling_table import lines
from bench.records import UNREADABLE, Estimate
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


class Job(NamedTuple):
    """What the ranks of a job compute together."""

    ranks: int
    batch_size: int  # of all ranks together


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    return parse_sizes(text, f"--sizes {text[:40]}: expected layer sizes as 784-512-512-10")


def _ranks(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Return the numbers of ranks, 1 and 2 always among them: the model is made of these."""
    numbers = {1, 2, *map(int, text.split(","))} if re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", text) else set()
    if not numbers or max(numbers) > MAX_RANKS_HERE:
        raise UserError(f"--ranks {text[:40]}: expected numbers from 1 to {MAX_RANKS_HERE} as 1,2,4")
    return tuple(sorted(numbers))


@click.command()
@click.option("--ranks", callback=_ranks, default="1,2,4", show_default=True, help="1 and 2 are always measured.")
@click.option(
    "--impl", "implementation", default="mpi", show_default=True, help="mpi, or mpi-ENGINE as mpi-rust_fused."
)
@click.option("--sizes", callback=_sizes, default="784-512-512-10", show_default=True, help="Units per layer.")
@click.option(
    "--batch-size",
    type=click.IntRange(2, MAX_SIZE),
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
    task: Task, ranks: Sequence[int], repetitions: int, time_out: float, progress: Callable[[str, float], None]
) -> dict[Job, list[JobTimes]]:
    """Return the times of all jobs, run so many times in random order. Raises UserError if a job fails."""
    batch = task.batch_size
    kinds = [{Job(count, batch), Job(count, batch * count), Job(1, max(1, batch // count))} for count in ranks]
    jobs = sorted(set().union(*kinds))
    times: dict[Job, list[JobTimes]] = {job: [] for job in jobs}
    order = random.Random(0)
    for repetition in range(repetitions):
        for number, job in enumerate(order.sample(jobs, len(jobs))):
            done = (repetition + number / len(jobs)) / repetitions
            progress(f"repetition {repetition + 1} of {repetitions}: {job.ranks} ranks", done)
            times[job].append(run_job(msgspec.structs.replace(task, batch_size=job.batch_size), job.ranks, time_out))
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


def scaling_of(name: str, task: Task, ranks: Sequence[int], times: Mapping[Job, list[JobTimes]]) -> Scaling:
    """Return what the jobs' times say: efficiencies, and what the model needs."""
    batch = task.batch_size
    alone = times[Job(1, batch)]
    points = [_point("strong", Job(count, batch), times, alone, 1 / count) for count in ranks]
    points += [_point("weak", Job(count, batch * count), times, alone, 1.0) for count in ranks]
    compute = {job.batch_size: _mean(job_times, "step").value for job, job_times in times.items() if job.ranks == 1}
    allreduces = [job_times.allreduce for job_times in times[Job(2, batch)]]
    allreduce = {size: lower_quartile([seconds[size] for seconds in allreduces]) for size in allreduces[0]}
    return Scaling(
        schema=1,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=machine.facts(),
        implementation=name,
        sizes=task.sizes,
        dtype=task.dtype,
        generations=len(alone),
        buffer_bytes=max(allreduce),
        points=points,
        compute=compute_of(compute),
        here=fabric_between(allreduce),
    )


def _point(
    kind: str, job: Job, times: Mapping[Job, list[JobTimes]], alone: Sequence[JobTimes], share: float
) -> ScalingPoint:
    """Return a point; each of its jobs is compared with the one of one rank that ran in the same repetition.

    `share` is a rank's share of the work in the job of one rank.
    """
    ratios = [share * one_rank.step / several.step for one_rank, several in zip(alone, times[job], strict=True)]
    step, compute, communication = (_mean(times[job], part) for part in ("step", "compute", "communication"))
    return ScalingPoint(kind, *job, step, compute, communication, geometric_mean(ratios))


def _mean(job_times: Sequence[JobTimes], part: str) -> Estimate:
    return geometric_mean([getattr(times, part) for times in job_times])
