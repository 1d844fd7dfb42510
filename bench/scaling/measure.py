"""Strong and weak scaling on this machine: jobs of every size in random order, in several generations.

Efficiencies are ratios within a generation, as speed-ups are (`bench.results.estimates`): of one mini-batch shared by R
ranks, T_1 / (R T_R); of one mini-batch for each, T_1 / T_R.
"""

import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from bench.measurement import machine, worker_environment
from bench.measurement.children import kill_with_children
from bench.measurement.launch import clean, command
from bench.measurement.linux import PARENT
from bench.measurement.process import ENVIRONMENT, THREAD_VARIABLES
from bench.records import UNREADABLE, Estimate
from bench.results.estimates import geometric_mean, lower_quartile
from bench.scaling.job import Task
from bench.scaling.model import compute_of, fitted, predictions
from bench.scaling.record import SCHEMA, Point, Sample, Scaling, Told
from impls import ROOT
from impls.errors import UserError
from impls.registry import Entry


class Case(NamedTuple):
    """One kind of job."""

    ranks: int
    batch_size: int  # of all ranks together


class Asked(msgspec.Struct, frozen=True):
    """What the user asked for."""

    ranks: tuple[int, ...]
    sizes: tuple[int, ...]
    batch_size: int  # of one rank
    dtype: str
    generations: int
    seconds: float  # of samples per job
    time_out: float  # for a job


def run_job(entry: Entry, asked: Asked, case: Case) -> Told:
    """Run a job to its end. Raises UserError with its last words if it fails or takes too long."""
    task = Task(entry.target, asked.sizes, case.batch_size, asked.dtype, asked.seconds)
    one_thread = dict.fromkeys(THREAD_VARIABLES, "1")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    own = worker_environment.folders(launched=True) | {"PYTHONPATH": path, PARENT: str(os.getpid())}
    with subprocess.Popen(
        command(case.ranks, "bench.scaling.job", msgspec.json.encode(task).decode()),
        env=worker_environment.inherited() | one_thread | ENVIRONMENT | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    ) as process:
        try:
            output, errors = process.communicate(timeout=asked.time_out)
        except BaseException as error:
            kill_with_children(process.pid)
            process.wait()
            clean(process.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise UserError(f"{case.ranks} ranks: no answer within {asked.time_out:g} s; see --time-out") from None
            raise
    try:
        return msgspec.json.decode(output, type=Told)
    except UNREADABLE:
        lines = errors.decode(errors="replace").splitlines()
        told = next((line for line in lines if "error: " in line), " ".join(lines)[-300:] or "no word")
        raise UserError(f"{case.ranks} ranks: the job ended with {process.returncode}: {told}") from None


def scaling(entry: Entry, asked: Asked, progress: Callable[[str, float], None]) -> Scaling:
    """Measure, and compare with the model. Raises UserError if a job fails."""
    batch = asked.batch_size
    cases = {Case(1, batch)} | {Case(r, batch) for r in asked.ranks} | {Case(r, batch * r) for r in asked.ranks}
    cases |= {Case(1, max(1, batch // r)) for r in asked.ranks}  # a share, alone
    told: dict[Case, list[Told]] = {case: [] for case in cases}
    order = random.Random(0)
    for generation in range(asked.generations):
        shuffled = order.sample(sorted(cases), len(cases))
        for number, case in enumerate(shuffled):
            done = (generation + number / len(cases)) / asked.generations
            progress(f"generation {generation + 1} of {asked.generations}: {case.ranks} ranks", done)
            told[case].append(run_job(entry, asked, case))
    points = [_point("strong", told, Case(ranks, batch), batch) for ranks in asked.ranks]
    points += [_point("weak", told, Case(ranks, batch * ranks), batch) for ranks in asked.ranks]
    size = max((size for of in told.values() for one in of for size in one.allreduce), default=0)
    compute = compute_of({case.batch_size: _part(of, "step").value for case, of in told.items() if case.ranks == 1})
    two = [one.allreduce for case, of in told.items() for one in of if case.ranks == 2]
    here = fitted({size: lower_quartile([one[size] for one in two]) for size in two[0]}) if two else None
    facts = machine.facts()
    return Scaling(
        schema=SCHEMA,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=facts,
        implementation=entry.name,
        sizes=asked.sizes,
        dtype=asked.dtype,
        generations=asked.generations,
        buffer_bytes=size,
        points=points,
        compute=compute,
        here=here,
        predicted=predictions(compute, here, points, size, facts.cores or 1) if here else [],
    )


def _point(kind: str, told: Mapping[Case, Sequence[Told]], case: Case, batch_size: int) -> Point:
    """Return a point from the jobs of a case and those of one rank, generation by generation."""
    times = case.ranks if kind == "strong" else 1
    pairs = zip(told[Case(1, batch_size)], told[case], strict=True)
    ratios = [_quartile(one, "step") / (times * _quartile(other, "step")) for one, other in pairs]
    step, compute, communication = (_part(told[case], name) for name in ("step", "compute", "communication"))
    return Point(kind, case.ranks, case.batch_size, step, compute, communication, geometric_mean(ratios))


def _part(told: Sequence[Told], name: str) -> Estimate:
    return geometric_mean([max(1e-9, _quartile(one, name)) for one in told])


def _quartile(told: Told, name: str) -> float:
    """Return the lower quartile of a part over a job's samples."""
    samples: list[Sample] = told.samples
    return lower_quartile([getattr(sample, name) for sample in samples])
