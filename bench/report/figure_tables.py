"""Tables of the reference runs in Markdown: what the markers in pages name (bench/report/pages.py)."""

import statistics

from bench.records import CONTROL, Estimate
from bench.report.figures import control_runs, estimate, reference, speed_up, timed_row
from bench.report.palette import look
from bench.report.table import markdown
from bench.report.text import interval_text, number_text, seconds_text

LADDER = (
    ("pure_python", "per_example", "NumPy instead of lists"),
    ("per_example", "batched_2d", "all examples of a mini-batch in one product"),
    ("batched_2d", "in_place", "no temporaries; BLAS adds to the weights itself"),
    ("in_place", "numba", "compiled: passes fused, no Python between them"),
    ("numba", "rust_fused", "own kernels for small products, the update inside the last one"),
)
POST = (
    ("per-example Rust, ndarray's own products, over per-example Python", "per_example", "rust_per_example"),
    ("per-example Rust, SciPy's BLAS, over per-example Python", "per_example", "rust_per_example_blas"),
    ("batched Python over per-example Rust, ndarray's own products", "rust_per_example", "batched_2d"),
    ("batched Python over per-example Rust, SciPy's BLAS", "rust_per_example_blas", "batched_2d"),
)
COMPILED = (
    ("rust_per_example", "the book's loop in Rust, products by ndarray's own matrixmultiply"),
    ("rust_per_example_blas", "products by SciPy's OpenBLAS"),
    ("batched_2d", "Python again, one GEMM per product"),
    ("rust_candle", "autograd in Rust: layers, cost and optimiser of candle"),
    ("rust_batched", "`batched_2d` in Rust, products by matrixmultiply"),
    ("in_place", "Python, no temporaries, update by BLAS"),
    ("rust_batched_blas", "`batched_2d` in Rust, products by SciPy's OpenBLAS"),
    ("rust_batched_gemm", "`batched_2d` in Rust, products by the crate gemm"),
    ("numba", "`in_place` compiled, passes fused"),
    ("rust_fused", "own kernels, update inside the product"),
)


def as_block(lines: list[str]) -> str:
    """Return the lines of a table, with empty ones around them so that Markdown knows it for one."""
    return "\n\n{}\n\n".format("\n".join(lines))


def table(run: str) -> str:
    """Return the table of all speed-ups of a run."""
    return f"\n\n{markdown(reference(run))}\n"


def ladder(run: str, *workloads: str) -> str:
    """Return the table of the ladder: what each step bought on some workloads."""
    lines = [
        f"| from | to | {' | '.join(f'`{name}`' for name in workloads)} | what changed |",
        f"| --- | --- |{' ---: |' * len(workloads)} --- |",
    ]
    for slow, fast, words in LADDER:
        cells = [_cell(run, workload, slow, fast) for workload in workloads]
        lines.append(f"| `{slow}` | `{fast}` | {' | '.join(cells)} | {words} |")
    return as_block(lines)


def post(run: str, *workloads: str) -> str:
    """Return the table of the 2019 post's ratios on some workloads."""
    names = " | ".join(f"`{name}`" for name in workloads)
    lines = [f"| what over what | {names} |", f"| --- |{' ---: |' * len(workloads)}"]
    for words, slow, fast in POST:
        cells = [_cell(run, workload, slow, fast) for workload in workloads]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return as_block(lines)


def times_of_runs(runs: str, workloads: str, *rows: str) -> str:
    """Return the table of times in several runs side by side; runs and workloads with commas between them."""
    columns = [(workload, run) for workload in workloads.split(",") for run in runs.split(",")]
    lines = [
        f"| row | {' | '.join(f'`{workload}`, {run}' for workload, run in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for label in rows:
        cells = [seconds_text(timed_row(run, workload, label).seconds or 0.0) for workload, run in columns]
        lines.append(f"| `{label}` | {' | '.join(cells)} |")
    return as_block(lines)


def compiled(run: str, *workloads: str) -> str:
    """Return the table of speed-ups over the baseline of the rows of COMPILED, a column a workload."""
    lines = [
        f"| row | {' | '.join(f'`{name}`' for name in workloads)} | what it is |",
        f"| --- |{' ---: |' * len(workloads)} --- |",
    ]
    for row, words in COMPILED:
        cells = [speed_up(run, workload, row) for workload in workloads]
        lines.append(f"| `{row}` | {' | '.join(cells)} | {words} |")
    return as_block(lines)


def frameworks(run: str) -> str:
    """Return the table of `rust_fused` and `in_place` over the fastest framework of each workload."""
    lines = [
        "| workload | fastest framework | `rust_fused` over it | `in_place` over it |",
        "| --- | --- | ---: | ---: |",
    ]
    for of in reference(run).workloads:
        name = of.workload.name
        timed = [r for r in reference(run).rows_of(name) if r.seconds and look(r.label).family == "framework"]
        if timed:
            fastest = min(timed, key=lambda row: row.seconds or 0.0).label
            cells = [speed_up(run, name, row, fastest) for row in ("rust_fused", "in_place")]
            lines.append(f"| `{name}` | `{fastest}` | {' | '.join(cells)} |")
    return as_block(lines)


def runs_of_the_control(*labels: str) -> str:
    """Return the table of the A/A runs: the control, and some rows, run by run; `twin/in_place` is one over another."""
    runs = control_runs()
    shown = (CONTROL, *labels)
    heads = [" over ".join(f"`{name}`" for name in label.split("/")) for label in shown]
    lines = [f"| run | {' | '.join(heads)} |", f"| ---: |{' --- |' * len(shown)}"]
    by_label: dict[str, list[Estimate]] = {
        label: [estimate(run, "book", *label.split("/")) for run in runs] for label in shown
    }
    for index in range(len(runs)):
        cells = [f"{number_text(of[index].value, 4)} ({interval_text(of[index])})" for of in by_label.values()]
        lines.append(f"| {index + 1} | {' | '.join(cells)} |")
    values = [[estimate.value for estimate in of] for of in by_label.values()]
    spreads = [100 * statistics.stdev(of) / statistics.fmean(of) for of in values]
    lines.append(f"| spread | {' | '.join(f'{number_text(spread, 2)} %' for spread in spreads)} |")
    return as_block(lines)


def _cell(run: str, workload: str, slow: str, fast: str) -> str:
    rows = [reference(run).row(workload, label) for label in (slow, fast)]
    return speed_up(run, workload, fast, slow) if all(row and row.timed for row in rows) else "–"
