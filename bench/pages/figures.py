"""Figures of the committed results, for README and the notes: `backprop figures` runs the `cog` blocks in the pages.

A block is Python that prints what stands below it. All names of this module are there:

    <!--[[[cog
    times_table("default", "book large", "batched_2d numba")
    ]]]-->
    <!--[[[end]]]-->
"""

from collections.abc import Iterable, Sequence
from functools import cache

from bench.analysis.compare_implementations import compare_implementations
from bench.analysis.results_files import read
from bench.output.text import cpus_text, estimate_text, seconds_text
from bench.records import Result, Results
from impls import ROOT
from profiles import recording
from profiles.stacks import PRODUCTS, category, wilson

REFERENCE = ROOT / "results" / "reference"
RECORDINGS = ROOT / "profiles" / "recordings"
NOT_MEASURED = "–"


@cache
def reference(run: str) -> Results:
    """Return a reference run. Raises UserError if there is none of that name."""
    return read(REFERENCE / run / "results.json")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown, with columns of figures to the right."""
    lines = list(rows)
    columns = zip(*lines, strict=True)
    has_figures = [all(cell[:1].isdigit() or cell == NOT_MEASURED for cell in column) for column in columns]
    rule = ["---:" if figures else "---" for figures in has_figures]
    print("", *(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines]), "", sep="\n")


def times_table(run: str, workloads: str, labels: str) -> None:
    """Print times on some workloads, and speed-ups over the baseline; names have blanks between them."""
    names = workloads.split()
    head = [text for name in names for text in (f"`{name}`", "speed-up")]
    lines = [
        [f"`{label}`", *(text for name in names for text in (time(run, name, label), speed_up(run, name, label)))]
        for label in labels.split()
    ]
    table(["implementation", *head], lines)


def time(run: str, workload: str, label: str) -> str:
    """Return the time of a call: 336 µs."""
    result = timed_row(run, workload, label)
    return seconds_text(result.seconds) if result and result.seconds else NOT_MEASURED


def speed_up(run: str, workload: str, label: str, over: str = "") -> str:
    """Return the speed-up over another implementation, or the baseline, from the samples: 8.99 (8.89 to 9.09)."""
    results = reference(run)
    over = over or results.rows_of(workload)[0].label
    if label == over:
        return "1"
    if not (timed_row(run, workload, label) and timed_row(run, workload, over)):
        return NOT_MEASURED
    return estimate_text(compare_implementations(results, over, label)[workload])


def speed_ups(run: str, workloads: str, label: str, over: str = "") -> list[str]:
    """Return the speed-ups on several workloads, whose names have blanks between them."""
    return [speed_up(run, workload, label, over) for workload in workloads.split()]


def timed_row(run: str, workload: str, label: str) -> Result | None:
    """Return the result of an implementation on a workload, if it has a time."""
    result = reference(run).row(workload, label)
    return result if result and result.timed else None


def conditions(results: Results) -> str:
    """Return where and when a run was made."""
    machine = results.machine
    return (
        f"{machine.cpu_model}, {cpus_text(machine)}; Python {machine.python}, NumPy {machine.versions['numpy']} with "
        f"{machine.numpy_blas}; {results.settings.generations} processes each, "
        f"{results.duration_seconds / 60:.1f} minutes; {results.date[:10]}"
    )


@cache
def recorded(label: str, workload: str) -> recording.Recording | None:
    """Return the committed recording of an implementation, or None."""
    path = RECORDINGS / f"{label}.{workload}.1.raw.txt"
    return recording.read(path) if path.is_file() else None


def share(label: str, workload: str, categories: Sequence[str] = PRODUCTS) -> str:
    """Return the per cent of a recording's samples in some categories of code: 59.3 ± 2.8."""
    committed = recorded(label, workload)
    if committed is None:
        return NOT_MEASURED
    inside = sum(count for stack, count in committed.stacks.items() if category(stack) in categories)
    percent = wilson(inside, committed.samples)
    return f"{100 * percent.value:.1f} ± {100 * percent.margin:.1f}"
