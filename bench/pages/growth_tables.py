"""Tables of the sweeps for the notes, how cost grows: bench/pages/figures.py says how pages use them."""

from bench.output.page.model import models
from bench.output.plots.palette import labels_to_show
from bench.output.plots.sweeps import SWEEPS, break_even, gains, splits_a_step
from bench.output.text import estimate_text, number_text, seconds_text
from bench.pages.figures import NOT_MEASURED, reference, table, timed_row


def growth(run: str, labels: str, **chosen: str | int) -> None:
    """Print the time per example by what a sweep varies, on workloads with the chosen dtype, threads or batch_size."""
    points = [
        point
        for point in reference(run).workloads
        if all(getattr(point.workload, name) == value for name, value in chosen.items())
    ]
    axis = SWEEPS[points[0].workload.sweep]
    points.sort(key=lambda point: axis.value(point.workload))
    lines = []
    for label in labels.split():
        results = [timed_row(run, point.workload.name, label) for point in points]
        cells = [
            seconds_text(result.seconds / point.examples) if result and result.seconds else NOT_MEASURED
            for point, result in zip(points, results, strict=True)
        ]
        lines.append([f"`{label}`", *cells])
    table([axis.name, *(f"{axis.value(point.workload):,}" for point in points)], lines)


def gains_of_threads(run: str, threads: int) -> None:
    """Print what threads gain in a step: from how many Mflop on surely, and in the largest."""
    results = reference(run)
    lines = []
    for label in labels_to_show(results, results.workloads):
        by_size = gains(results, results.workloads, label, threads)
        if splits_a_step(by_size):
            begins = break_even(by_size)
            where = f"{number_text(begins, 2)} Mflop" if begins else "no step"
            lines.append([f"`{label}`", where, estimate_text(by_size[-1].ratio)])
    table(["implementation", f"{threads} threads surely gain from", "in the largest step"], lines)


def model_of_a_step(run: str, labels: str, where: str) -> None:
    """Print the model of a step, and how well it predicts points that it has not seen."""
    by_label = {model.label: model for model in models(reference(run)) if model.where == where}
    lines = []
    for label in labels.split():
        model = by_label[label]
        rate = number_text(model.rate / 1e9) if model.rate else NOT_MEASURED
        bandwidth = number_text(model.bandwidth / 1e9, 2) if model.bandwidth else NOT_MEASURED
        beyond = number_text(model.cache / (1 << 20), 2) if model.bandwidth else NOT_MEASURED
        close, worst = f"{model.close} of {model.points}", f"{100 * model.worst:+.0f} %"
        lines.append(
            [f"`{label}`", seconds_text(model.overhead), rate, bandwidth, beyond, close, worst, model.worst_at]
        )
    head = "implementation; overhead; products, Gflop/s; memory, GB/s; beyond, MiB; within a fifth; worst; at"
    table(head.split("; "), lines)
