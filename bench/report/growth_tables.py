"""Tables of the sweeps in Markdown, how cost grows: what the markers in pages name (bench/report/pages.py)."""

from bench.records import WorkloadResult, threads_text
from bench.report.drawing import labels_to_show
from bench.report.figure_tables import as_block
from bench.report.figures import reference
from bench.report.page.model import Model, models
from bench.report.strong_plot import break_even, gains, has_one_thread
from bench.report.sweep_plot import SWEEPS
from bench.report.text import estimate_text, number_text, seconds_text
from impls.errors import UserError


def growth(run: str, dtype: str, threads: str, *rows: str) -> str:
    """Return the table of the time per example by what a sweep varies, in one dtype with so many threads."""
    chosen = (dtype, int(threads))
    found = [
        of
        for of in reference(run).workloads
        if of.workload.sweep in SWEEPS.keys() - {"width-grid"} and (of.workload.dtype, of.workload.threads) == chosen
    ]
    return _times(run, found, f"sweep in {dtype} with {threads} threads", rows)


def growth_with_width(run: str, dtype: str, examples: str, *rows: str) -> str:
    """Return the table of the time per example by the width, in one dtype with mini-batches of so many examples."""
    chosen = (dtype, int(examples))
    found = [
        of
        for of in reference(run).workloads
        if of.workload.sweep == "width-grid" and (of.workload.dtype, of.workload.batch_size) == chosen
    ]
    return _times(run, found, f"width-grid in {dtype} with {examples} examples", rows)


def gains_of_threads(run: str, threads: str) -> str:
    """Return the table of what threads gain in a step: from how many Mflop on surely, and in the largest."""
    results, several = reference(run), int(threads)
    strong = [of for of in results.workloads if of.workload.sweep == "strong"]
    lines = [f"| row | {threads} threads surely gain from | in the largest step |", "| --- | ---: | ---: |"]
    for label in labels_to_show(results, strong):
        found = gains(results, strong, label, several)
        if not has_one_thread(found):
            begins = break_even(found)
            where = "no step" if begins is None else f"{number_text(begins, 2)} Mflop"
            lines.append(f"| `{label}` | {where} | {estimate_text(found[-1][1])} |")
    return as_block(lines)


def weak_scaling(run: str, *rows: str) -> str:
    """Return the table of weak scaling: the time of a step, by threads, with as many examples for each."""
    results = reference(run)
    found = sorted((of for of in results.workloads if of.workload.sweep == "weak"), key=lambda of: of.workload.threads)
    heads = [threads_text(of.workload.threads) for of in found]
    lines = [f"| row | {' | '.join(heads)} | efficiency |", f"| --- |{' ---: |' * len(heads)} ---: |"]
    for label in rows:
        seconds = [row.seconds if (row := results.row(of.workload.name, label)) else None for of in found]
        cells = [seconds_text(each) if each else "–" for each in seconds]
        efficiency = number_text(seconds[0] / seconds[-1]) if seconds[0] and seconds[-1] else "–"
        lines.append(f"| `{label}` | {' | '.join(cells)} | {efficiency} |")
    return as_block(lines)


def model_of_a_step(run: str, *rows: str) -> str:
    """Return the table of the model of a step, and of how well it predicts points that it has not seen."""
    lines = [
        "| row | where | overhead | products | memory | points left out |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    found = {(each.label, each.where): each for each in models(reference(run))}
    for label, where in sorted(found, key=lambda key: (key[1], rows.index(key[0]) if key[0] in rows else 0)):
        if label in rows:
            lines.append(_line(found[label, where]))
    return as_block(lines)


def _line(of: Model) -> str:
    overhead = seconds_text(of.overhead) if of.overhead else "none"
    rate = f"{number_text(of.rate / 1e9)} Gflop/s" if of.rate else "no mark"
    memory = "no mark"
    if of.bandwidth:
        memory = f"{number_text(of.bandwidth / 1e9, 2)} GB/s beyond {number_text(of.cache / (1 << 20), 2)} MiB"
    off = f"{100 * of.worst:+.0f} %".replace("-", "−")
    words = f"all {of.points} within a fifth, the worst {off}"
    if not of.holds:
        words = f"fails at {of.points - of.close} of {of.points}, worst at {of.worst_at}: {off}"
    return f"| `{of.label}` | {of.where} | {overhead} | {rate} | {memory} | {words} |"


def _times(run: str, found: list[WorkloadResult], what: str, rows: tuple[str, ...]) -> str:
    if not found:
        raise UserError(f"figures: the reference run {run!r} has no {what}")
    axis = SWEEPS[found[0].workload.sweep]
    found.sort(key=lambda of: axis.of(of.workload))
    lines = [
        f"| {axis.name} | {' | '.join(f'{axis.of(of.workload):,}' for of in found)} |",
        f"| --- |{' ---: |' * len(found)}",
    ]
    for label in rows:
        timed = [(of, reference(run).row(of.workload.name, label)) for of in found]
        cells = [seconds_text(row.seconds / of.examples) if row and row.seconds else "–" for of, row in timed]
        lines.append(f"| `{label}` | {' | '.join(cells)} |")
    return as_block(lines)
