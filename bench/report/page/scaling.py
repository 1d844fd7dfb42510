"""Beyond one machine: how a step scales over MPI ranks here, and what the model says of more of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.records import Estimate, Results
from bench.report.text import cpus_text
from bench.scaling import (
    FABRICS,
    HEADER,
    MAX_RANKS,
    Scaling,
    cells,
    crowded_text,
    errors_text,
    predicted_cells,
)

WIDTH, HEIGHT = 320, 220
LEFT, RIGHT, TOP, BOTTOM = 42, 74, 12, 36  # of the axes, in pixels
TOP_PERCENT = 110
NAME_HEIGHT = 13
LOOKS = (("#0072b2", ""), ("#d55e00", "6 3"), ("#009e73", "2 3"))  # colours and dashes
MORE = 16  # times the examples of a rank, in the second picture of the model


@dataclass(frozen=True)
class Curve:
    """A curve in pixels."""

    name: str
    colour: str
    dashes: str
    points: list[tuple[float, float]]
    intervals: list[tuple[float, float, float]]  # x, y of the low end, y of the high end
    name_y: float


@dataclass(frozen=True)
class Picture:
    """Efficiency against ranks."""

    title: str
    ticks_x: list[tuple[str, float]]
    ticks_y: list[tuple[str, float]]
    ideal: float  # y
    curves: list[Curve]
    crowded: float | None  # x from which on there are more ranks than CPUs


@dataclass(frozen=True)
class ScalingFacts:
    """All that the page shows of it."""

    words: str
    header: Sequence[str]
    rows: list[tuple[str, ...]]
    crowded: str  # what the star means, "" if nothing has one
    pictures: list[Picture]
    here: str
    errors: str
    fabrics: list[tuple[str, ...]]  # as predicted_cells has them
    batch: int


def scaling_facts(found: Scaling) -> ScalingFacts:
    """Return what the page shows of scaling."""
    of = [found.implementation, "-".join(map(str, found.sizes)), found.dtype, found.machine.cpu_model]
    return ScalingFacts(
        words=f"{', '.join(of)}, {cpus_text(found.machine)}, {found.date[:10]}; {found.generations} jobs each",
        header=HEADER,
        rows=[cells(point, found.cpus) for point in found.points],
        crowded=crowded_text(found),
        pictures=[_measured(found), *(_modelled(found, found.batch * times) for times in (1, MORE))],
        here=" and ".join(found.here.cells()) if found.here else "",
        errors=errors_text(found).replace(" %", "\N{NO-BREAK SPACE}%"),
        fabrics=predicted_cells(found),
        batch=found.batch,
    )


def is_of(found: Scaling, results: Results) -> bool:
    """Return whether scaling was measured on the machine of a run."""
    return found.machine.kind == results.machine.kind


def _measured(found: Scaling) -> Picture:
    ranks = sorted({point.ranks for point in found.points})
    curves = {
        kind: [(point.ranks, point.efficiency) for point in found.points if point.scaling == kind]
        for kind in ("strong", "weak")
    }
    return _picture("Measured here", ranks, ranks, curves, found.cpus)


def _modelled(found: Scaling, batch: int) -> Picture:
    ranks = [1 << power for power in range(MAX_RANKS.bit_length())]
    curves = {
        fabric.name.partition(", ")[2].partition(",")[0]: [
            (each, Estimate(found.efficiency(fabric, each, batch))) for each in ranks
        ]
        for fabric in FABRICS
    }
    return _picture(f"Predicted, weak, {batch:,} examples a rank", ranks, [1, 16, 256, MAX_RANKS], curves, None)


def _picture(
    title: str,
    ranks: Sequence[int],
    ticks: Sequence[int],
    curves: dict[str, list[tuple[int, Estimate]]],
    cpus: int | None,
) -> Picture:
    span = max(1.0, math.log2(ranks[-1]))

    def x(count: float) -> float:
        return round(LEFT + math.log2(count) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - 100 * share / TOP_PERCENT * (HEIGHT - TOP - BOTTOM), 1)

    ends = sorted((y(points[-1][1].value), name) for name, points in curves.items())
    places: dict[str, float] = {}
    for end, name in ends:
        places[name] = max(end + 4, *(place + NAME_HEIGHT for place in places.values()), 0.0)
    return Picture(
        title=title,
        ticks_x=[(f"{count:,}", x(count)) for count in ticks],
        ticks_y=[(f"{percent} %", y(percent / 100)) for percent in (0, 25, 50, 75, 100)],
        ideal=y(1.0),
        curves=[
            Curve(
                name=name,
                colour=colour,
                dashes=dashes,
                points=[(x(count), y(min(share.value, TOP_PERCENT / 100))) for count, share in points],
                intervals=[
                    (x(count), y(share.low), y(share.high)) for count, share in points if share.low and share.high
                ],
                name_y=places[name],
            )
            for (name, points), (colour, dashes) in zip(curves.items(), LOOKS, strict=False)
        ],
        crowded=x(cpus * 1.05) if cpus and ranks[-1] > cpus else None,
    )
