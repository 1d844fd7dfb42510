"""Scaling that nobody measured: two and four ranks, strong and weak."""

from bench.analysis.scaling import Compute, Fabric, Scaling, ScalingPoint
from bench.conditions import Machine
from bench.records import Estimate

SLOW = Fabric("slow", 1e-5, 1e9)
EXACT = Compute(0.001, 0.0001)


def made_up(cpus: int = 2, cpu_model: str = "Abacus 3000") -> Scaling:
    """Return scaling on a machine with so many CPUs."""

    def point(kind: str, ranks: int, efficiency: float) -> ScalingPoint:
        batch = 64 if kind == "strong" else 64 * ranks
        parts = Estimate(0.008), Estimate(0.006), Estimate(0.001 if ranks > 1 else 1e-9)
        return ScalingPoint(kind, ranks, batch, *parts, Estimate(efficiency, efficiency - 0.1, efficiency + 0.1))

    return Scaling(
        schema=1,
        date="2026-11-25T10:00:00+00:00",
        machine=Machine(cpu_model=cpu_model, usable_cpus=cpus),
        implementation="mpi",
        sizes=(784, 30, 10),
        dtype="float64",
        generations=3,
        buffer_bytes=190_000,
        points=[point(kind, ranks, 1 / ranks**0.2) for kind in ("strong", "weak") for ranks in (1, 2, 4)],
        compute=EXACT,
        here=SLOW,
    )
