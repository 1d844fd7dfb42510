"""Tables of the sweeps for the notes, how cost grows: bench/report/figures.py says how pages use them."""

from bench.records import threads_text
from bench.report.drawing import labels_to_show
from bench.report.figures import NOT_MEASURED, reference, table, time
from bench.report.page.model import Model, models
from bench.report.strong_plot import break_even, gains, has_one_thread
from bench.report.sweep_plot import SWEEPS
from bench.report.text import estimate_text, number_text, seconds_text


def growth(run: str, labels: str, **chosen: str | int) -> None:
    """Print the time per example by what a sweep varies, on workloads with the chosen dtype, threads or batch_size."""
    results = reference(run)
    found = [
        each
        for each in results.workloads
        if all(getattr(each.workload, name) == value for name, value in chosen.items())
    ]
    axis = SWEEPS[found[0].workload.sweep]
    found.sort(key=lambda each: axis.of(each.workload))
    lines = []
    for label in labels.split():
        rows = [results.row(each.workload.name, label) for each in found]
        cells = [
            seconds_text(row.seconds / each.examples) if row and row.seconds else NOT_MEASURED
            for each, row in zip(found, rows, strict=True)
        ]
        lines.append([f"`{label}`", *cells])
    table([axis.name, *(f"{axis.of(each.workload):,}" for each in found)], lines)


def gains_of_threads(run: str, threads: int) -> None:
    """Print what threads gain in a step: from how many Mflop on surely, and in the largest."""
    results = reference(run)
    lines = []
    for label in labels_to_show(results, results.workloads):
        by_size = gains(results, results.workloads, label, threads)
        if not has_one_thread(by_size):
            begins = break_even(by_size)
            where = f"{number_text(begins, 2)} Mflop" if begins else "no step"
            lines.append([f"`{label}`", where, estimate_text(by_size[-1][1])])
    table(["row", f"{threads} threads surely gain from", "in the largest step"], lines)


def weak_scaling(run: str, labels: str) -> None:
    """Print the time of a step by threads, with as many examples for each."""
    results = reference(run)
    workloads = sorted((each.workload for each in results.workloads), key=lambda workload: workload.threads)
    lines = []
    for label in labels.split():
        rows = [results.row(workloads[end].name, label) for end in (0, -1)]
        alone, together = (row.seconds if row else None for row in rows)
        efficiency = number_text(alone / together) if alone and together else NOT_MEASURED
        lines.append([f"`{label}`", *(time(run, workload.name, label) for workload in workloads), efficiency])
    table(["row", *(threads_text(workload.threads) for workload in workloads), "efficiency"], lines)


def model_of_a_step(run: str, labels: str, where: str) -> None:
    """Print the model of a step, and how well it predicts points that it has not seen."""
    by_label = {model.label: model for model in models(reference(run)) if model.where == where}
    lines = [_cells(by_label[label]) for label in labels.split()]
    table(["row", "overhead", "products", "memory", "points left out"], lines)


def _cells(model: Model) -> list[str]:
    overhead = seconds_text(model.overhead) if model.overhead else "none"
    rate = f"{number_text(model.rate / 1e9)} Gflop/s" if model.rate else "no mark"
    memory = "no mark"
    if model.bandwidth:
        memory = f"{number_text(model.bandwidth / 1e9, 2)} GB/s beyond {number_text(model.cache / (1 << 20), 2)} MiB"
    worst = f"{100 * model.worst:+.0f} %".replace("-", "−")
    accuracy = f"all {model.points} within a fifth, the worst {worst}"
    if not model.holds:
        accuracy = f"fails at {model.points - model.close} of {model.points}, worst at {model.worst_at}: {worst}"
    return [f"`{model.label}`", overhead, rate, memory, accuracy]
