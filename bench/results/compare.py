"""Two rows of one run, compared."""

from bench.records import Estimate, Results
from bench.results.estimates import paired_ratio
from impls.errors import UserError
from impls.registry import backprop_command


def compare_rows(results: Results, slow: str, fast: str) -> dict[str, Estimate]:
    """Return by workload how many times as fast the row `fast` is as `slow`, from their paired samples.

    Raises UserError if no workload has both.
    """
    found = {}
    for of in results.workloads:
        rows = [results.row(of.workload.name, label) for label in (slow, fast)]
        if all(row is not None and row.timed for row in rows):
            slow_samples, fast_samples = (row.samples for row in rows if row is not None)
            found[of.workload.name] = paired_ratio(slow_samples, fast_samples)
    if not found:
        timed = ", ".join(dict.fromkeys(row.label for row in results.rows if row.timed))
        raise UserError(
            f"no workload has both {slow!r} and {fast!r}; timed were: {timed}; name the results of another run before "
            f"the rows, or time both with: {backprop_command('bench --impl=… --impl=…')}"
        )
    return found
