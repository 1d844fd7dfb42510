"""What was found about scaling, in words."""

from collections.abc import Iterator

from bench.report.text import estimate_text, number_text, seconds_text
from bench.scaling.model import FABRICS, MAX_RANKS, allreduce_seconds, efficiency, hiding_batch
from bench.scaling.record import Fabric, Point, Scaling

HEADER = ("scaling", "ranks", "batch", "step", "compute", "Allreduce", "waiting", "efficiency")


def cells(point: Point, cpus: int) -> tuple[str, ...]:
    """Return the cells of a point; more ranks than CPUs are marked."""
    parts = point.step.value, point.compute.value, point.communication.value
    waiting = max(0.0, parts[0] - parts[1] - parts[2]) if point.ranks > 1 else 0.0
    times = [seconds_text(part) if part > 1e-8 else "–" for part in (*parts, waiting)]
    ranks = f"{point.ranks}*" if point.ranks > cpus else str(point.ranks)
    return point.scaling, ranks, str(point.batch_size), *times, estimate_text(point.efficiency)


def crowded_text(found: Scaling) -> str:
    """Return in words what the mark of more ranks than CPUs means, "" if no point has it."""
    if all(point.ranks <= found.cpus for point in found.points):
        return ""
    return f"more ranks than the {found.cpus} CPUs here: they take turns, so that efficiency says little"


def here_text(here: Fabric) -> str:
    """Return latency and bandwidth between two ranks of the machine."""
    return f"{seconds_text(here.latency_seconds)} and {_rate_text(here)}"


def errors_text(found: Scaling) -> str:
    """Return by how much the model misses the measured steps."""
    told = [f"{one.error_percent:+.0f} % ({one.scaling}, {one.ranks} ranks)" for one in found.predicted]
    return ", ".join(told).replace("-", "\N{MINUS SIGN}")


def predicted_cells(found: Scaling) -> Iterator[tuple[str, ...]]:
    """Return what the model predicts for the largest number of ranks: a row for each fabric.

    Name, latency, bandwidth, time of the Allreduce, efficiency, examples a rank that could hide it.
    """
    size = found.buffer_bytes
    for fabric in FABRICS:
        yield (
            fabric.name,
            seconds_text(fabric.latency_seconds),
            _rate_text(fabric),
            seconds_text(allreduce_seconds(fabric, MAX_RANKS, size)),
            f"{efficiency(found.compute, fabric, MAX_RANKS, found.batch, size):.0%}".replace("%", " %"),
            f"{hiding_batch(found.compute, fabric, MAX_RANKS, size)} a rank",
        )


def _rate_text(fabric: Fabric) -> str:
    return f"{number_text(fabric.bytes_per_second / 1e9)} GB/s"


def lines(found: Scaling) -> Iterator[str]:
    """Return the table of what was measured, and what the model says."""
    cores = found.cpus
    rows = [HEADER, *(cells(point, cores) for point in found.points)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    network = "-".join(map(str, found.sizes))
    yield f"{found.implementation}: {network}, {found.dtype}, {found.generations} jobs each"
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if crowded := crowded_text(found):
        yield f"* {crowded}"
    yield from _model(found)


def _model(found: Scaling) -> Iterator[str]:
    here = found.here
    if here is None:
        return
    rate = here.bytes_per_second / 1e9
    yield f"Between two ranks here: latency {seconds_text(here.latency_seconds)}, {rate:.1f} GB/s."
    told = ", ".join(f"{one.ranks} ranks {one.scaling} {one.error_percent:+.0f} %" for one in found.predicted)
    yield f"The model's error, of the step's time: {told}."
    yield f"Predicted for {MAX_RANKS} ranks, from typical figures of each fabric:"
    for fabric in FABRICS:
        share = efficiency(found.compute, fabric, MAX_RANKS, found.batch, found.buffer_bytes)
        hides = hiding_batch(found.compute, fabric, MAX_RANKS, found.buffer_bytes)
        yield (
            f"  {fabric.name}: efficiency {share:.0%} with {found.batch} examples a rank; "
            f"from {hides} on, computing is as long as the Allreduce and could hide it"
        )
