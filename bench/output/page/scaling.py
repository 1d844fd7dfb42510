"""Beyond one machine: how a step scales over MPI ranks here, and what the model says of more of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.scaling import Scaling
from bench.output.scaling_table import HEADER, cells, crowded_text, errors_text, fabric_cells, predicted_cells
from bench.output.text import cpus_text
from bench.records import Results


@dataclass(frozen=True)
class ScalingFacts:
    """All that the page shows of it."""

    words: str
    header: Sequence[str]
    rows: list[tuple[str, ...]]
    crowded: str  # what the star means, "" if nothing has one
    pictures: list[tuple[str, str]]  # title, and the address that holds the picture itself
    here: str
    errors: str
    fabrics: list[tuple[str, ...]]  # as predicted_cells has them
    batch: int


def scaling_facts(scaling: Scaling) -> ScalingFacts:
    """Return what the page shows of scaling."""
    network = "-".join(map(str, scaling.sizes))
    machine = f"{scaling.machine.cpu_model}, {cpus_text(scaling.machine)}, {scaling.date[:10]}"
    return ScalingFacts(
        words=f"{scaling.implementation}, {network}, {scaling.dtype}, {machine}; {scaling.generations} jobs each",
        header=HEADER,
        rows=[cells(point, scaling.cpus) for point in scaling.points],
        crowded=crowded_text(scaling),
        pictures=_pictures(scaling),
        here=" and ".join(fabric_cells(scaling.here)),
        errors=errors_text(scaling).replace(" %", "\N{NO-BREAK SPACE}%"),
        fabrics=list(predicted_cells(scaling)),
        batch=scaling.batch,
    )


def is_of(scaling: Scaling, results: Results) -> bool:
    """Return whether scaling was measured on the machine of a run."""
    return scaling.machine.kind == results.machine.kind


def _pictures(scaling: Scaling) -> list[tuple[str, str]]:
    from bench.output.plots.curves import scaling_beyond, scaling_here  # matplotlib takes half a second
    from bench.output.plots.drawing import picture

    pictures = []
    for title, draw in (("Measured here", scaling_here), ("Predicted weak efficiency", scaling_beyond)):
        encoded = base64.b64encode(picture(draw(scaling), "svg")).decode()
        pictures.append((title, f"data:image/svg+xml;base64,{encoded}"))
    return pictures
