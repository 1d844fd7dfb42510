"""Small pictures within tables: where a ratio and its interval stand, the points of processes, the shapes of rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.report.page.facts import PageWorkload, Ratio
from bench.results.history import Line, Point

WIDTH, EDGE = 180, 8  # of the picture of a speed-up, as in report.js
STRIP, STRIP_EDGE = 90, 5
COURSE, COURSE_HEIGHT = 220, 30  # of the picture of a row from run to run
LEAST_REACH = 0.05  # of a speed-up, between the bottom and the top of that picture: noise is not blown up to fill it
SHAPES = {
    "circle": '<circle r="5" fill="{}"/>',
    "square": '<rect x="-4.5" y="-4.5" width="9" height="9" fill="{}"/>',
    "diamond": '<path d="M0-6L6 0L0 6L-6 0Z" fill="{}"/>',
    "triangle": '<path d="M0-5.5L5.5 4.5H-5.5Z" fill="{}"/>',
    "triangle-down": '<path d="M0 5.5L5.5-4.5H-5.5Z" fill="{}"/>',
    "saltire": '<path transform="rotate(45)" d="M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z" fill="{}"/>',
    "cross": '<path d="M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z" fill="{}"/>',
}


def shape(name: str, colour: str) -> Markup:
    """Return the shape of a row's family in the row's colour, as SVG."""
    return Markup(SHAPES[name]).format(colour)


def scale(of: PageWorkload, ratio: Ratio) -> tuple[float, float, float]:
    """Return where a ratio and the ends of its interval stand in the picture of its row, in pixels."""
    edges = [math.log(edge) for other in of.ratios[of.baseline].values() for edge in other if edge]
    low, high = min(0.0, *edges), max(0.01, *edges)
    x0, x1, x2 = (round(EDGE + (math.log(v or ratio[0]) - low) / (high - low) * (WIDTH - 2 * EDGE), 1) for v in ratio)
    return x0, x1, x2


def strip(points: Sequence[float]) -> list[float]:
    """Return where the speed-ups of processes stand, in pixels; a spread of 2 % or more fills the strip."""
    if not points:
        return []
    logs = [math.log(point) for point in points]
    middle = (min(logs) + max(logs)) / 2
    reach = max(0.02, max(logs) - min(logs))
    return [round(STRIP / 2 + (value - middle) / reach * (STRIP - 2 * STRIP_EDGE), 1) for value in logs]


@dataclass(frozen=True)
class Course:
    """A row from run to run in pixels: the curve of each stretch, the intervals, and where the machine changed."""

    curves: list[str]  # points, as a polyline has them
    intervals: list[tuple[float, float, float]]  # x, y of the low end, y of the high end
    breaks: list[float]  # x


def course(line: Line) -> Course:
    """Return where the speed-ups of a row and their intervals stand."""
    points = line.points
    edges = [math.log(edge) for point in points for edge in _edges(point)]
    middle, reach = (min(edges) + max(edges)) / 2, max(LEAST_REACH, max(edges) - min(edges))
    at = {id(point): number for number, point in enumerate(points)}
    step = (COURSE - 12) / max(1, len(points) - 1)

    def x(point: Point) -> float:
        return round(6 + at[id(point)] * step, 1)

    def y(value: float) -> float:
        return round(COURSE_HEIGHT / 2 - (math.log(value) - middle) / reach * (COURSE_HEIGHT - 6), 1)

    return Course(
        curves=[" ".join(f"{x(p)},{y(p.speed_up.value)}" for p in stretch) for stretch in line.stretches],
        intervals=[(x(p), y(_edges(p)[1]), y(_edges(p)[2])) for p in points if p.speed_up.low],
        breaks=[round(x(stretch[0]) - step / 2, 1) for stretch in line.stretches[1:]],
    )


def _edges(point: Point) -> tuple[float, float, float]:
    of = point.speed_up
    return of.value, of.low or of.value, of.high or of.value
