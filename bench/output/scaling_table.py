"""The table of `backprop scale`: what was measured over MPI ranks, and what the model says of more of them."""

import math

from rich.console import RenderableType

from bench.analysis.scaling import FABRICS, MAX_RANKS, Fabric, Scaling, ScalingPoint
from bench.output.table import plain_table, printed
from bench.output.text import estimate_text, number_text, seconds_text

WIDTH = 240  # characters
HEADER = ("scaling", "ranks", "batch", "step", "compute", "Allreduce", "waiting", "efficiency")


def fabric_cells(fabric: Fabric) -> tuple[str, str]:
    """Return latency and bandwidth as text."""
    return seconds_text(fabric.latency_seconds), f"{number_text(fabric.bytes_per_second / 1e9)} GB/s"


def cells(point: ScalingPoint, cpus: int) -> tuple[str, ...]:
    """Return the cells of a point; more ranks than CPUs are marked."""
    step, compute, communication = point.step.value, point.compute.value, point.communication.value
    waiting = step - compute - communication if point.ranks > 1 else 0.0
    times = [seconds_text(part) if part > 1e-8 else "–" for part in (step, compute, communication, waiting)]
    ranks = f"{point.ranks}*" if point.ranks > cpus else str(point.ranks)
    return point.scaling, ranks, str(point.batch_size), *times, estimate_text(point.efficiency)


def crowded_text(scaling: Scaling) -> str:
    """Return in words what the mark of more ranks than CPUs means, "" if no point has it."""
    if all(point.ranks <= scaling.cpus for point in scaling.points):
        return ""
    return f"more ranks than the {scaling.cpus} CPUs here: they take turns, so that efficiency says little"


def errors_text(scaling: Scaling) -> str:
    """Return by how much the model misses the measured steps."""
    texts = [f"{100 * error:+.0f} % ({point.scaling}, {point.ranks} ranks)" for point, error in scaling.errors()]
    return ", ".join(texts).replace("-", "\N{MINUS SIGN}")


def predicted_cells(scaling: Scaling) -> list[tuple[str, ...]]:
    """Return what the model predicts for the largest number of ranks: a row for each fabric.

    Name, latency, bandwidth, time of the Allreduce, efficiency, examples a rank from which computing takes as long as
    the Allreduce, so that overlap could hide it.
    """
    rows: list[tuple[str, ...]] = []
    for fabric in FABRICS:
        allreduce = fabric.allreduce_seconds(MAX_RANKS, scaling.buffer_bytes)
        efficiency = scaling.efficiency(fabric, MAX_RANKS, scaling.batch)
        hiding = max(1, math.ceil((allreduce - scaling.compute.fixed) / scaling.compute.per_example))
        predicted = seconds_text(allreduce), f"{100 * efficiency:.0f} %", f"{hiding} a rank"
        rows.append((fabric.name, *fabric_cells(fabric), *predicted))
    return rows


def lines(scaling: Scaling) -> list[str]:
    """Return the table of what was measured, and what the model says."""
    network = "-".join(map(str, scaling.sizes))
    parts: list[RenderableType] = [
        f"{scaling.implementation}: {network}, {scaling.dtype}, {scaling.generations} jobs each",
        plain_table(HEADER, [cells(point, scaling.cpus) for point in scaling.points]),
    ]
    if crowded := crowded_text(scaling):
        parts.append(f"* {crowded}")
    efficiency = f"efficiency, {scaling.batch} a rank"
    parts += [
        f"Latency and bandwidth between two ranks here: {' and '.join(fabric_cells(scaling.here))}.",
        f"The model's error, of the step's time: {errors_text(scaling)}.",
        f"Predicted for {MAX_RANKS} ranks, from typical figures of each fabric:",
        plain_table(
            ("fabric", "latency", "bandwidth", "Allreduce", efficiency, "could hide from"), predicted_cells(scaling)
        ),
    ]
    return printed(parts, WIDTH)
