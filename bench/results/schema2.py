"""Results of schema 2, in JSON's own types, turned into those of schema 3.

There, rows were measured against NumPy's product alone, which was called the limit; it is the reference rate now. What
a first call took was told by each process, whatever it had done before; the first process had done the least.
"""

from typing import Any

NO_PEAK = "this version of the benchmark did not measure it"


def product_flops(size: int) -> int:
    """Return the operations of a product of two (size, size) matrices: 2 size^3."""
    return 2 * size**3


def product_words(size: int) -> str:
    """Return the product of two (size, size) matrices in words."""
    return f"NumPy's product of two {size} x {size} matrices"


def upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """Return results of schema 2 as those of schema 3, where their types allow it; validation comes after this."""
    return old | {
        "schema": 3,
        "workloads": [_workload(of) for of in _dicts(old.get("workloads"))],
        "rows": [_row(row) for row in _dicts(old.get("rows"))],
    }


def _workload(old: dict[str, Any]) -> dict[str, Any]:
    limit = old.get("limit")
    if not isinstance(limit, dict) or not isinstance(limit.get("size"), int):
        return old | {"no_peak": NO_PEAK}
    reference = limit | {"what": product_words(limit["size"]), "flops": product_flops(limit["size"])}
    return old | {"no_peak": NO_PEAK, "reference": reference}


def _row(old: dict[str, Any]) -> dict[str, Any]:
    names = ("import_seconds", "setup_seconds", "first_call_seconds", "peak_rss_bytes")
    first = next(iter(_dicts(old.get("processes"))), {})
    return old | {"first_calls": [{name: first[name] for name in names}]} if first.keys() >= set(names) else old


def _dicts(found: Any) -> list[dict[str, Any]]:
    """Return the dictionaries of a list; what else there is, is not JSON of a results file."""
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
