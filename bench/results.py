"""What came out: estimates from the samples, the part of the JSON that is ours, and the reader of such files.

A results file is pytest-benchmark's JSON with one more key, `backprop_bench`, described by `Results`. Plots and
tables are made from it alone.
"""

import json
import math
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import statistics
from bench.errors import UserError
from bench.sampler import CONTROL, Row, Sampler

KEY = "backprop_bench"
SCHEMA = 1
FEWEST_PROCESSES = 3  # for a claim
NOISY_SPREAD = 0.10  # interquartile range of the baseline's samples over their median
NOISY_STEAL = 1.0  # per cent of CPU time given to others
WIDE = 0.03  # half-width of an interval over its value
OVER_SHARE = 1.05  # cores used over cores given
MOST_OVERHEAD = 1.0  # per cent of a sample

Results = dict[str, Any]


def summarise(sampler: Sampler, steal_percent: float | None, load_average: float | None) -> Results:
    """Return what a run found, ready for JSON: settings, workloads, rows with estimates, and words on trust."""
    workloads: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    notes = ["the run was interrupted: the figures come from what was finished"] if sampler.interrupted else []
    for name, of_workload in sampler.rows.items():
        baseline, limit = of_workload[0], sampler.limits[name]
        examples = of_workload[0].workload.examples(sampler.data_examples)
        summaries = [_row(row, baseline, limit, examples) for row in of_workload]
        workloads.append(_workload(baseline, limit, examples))
        rows += summaries
        notes += _notes(summaries)
    if steal_percent is not None and steal_percent > NOISY_STEAL:
        notes.append(f"the hypervisor gave {steal_percent:.1f} % of the CPU time to others during the run")
    return {
        "schema": SCHEMA,
        "settings": asdict(sampler.settings),
        "interrupted": sampler.interrupted,
        "steal_percent": steal_percent,
        "load_average_before": load_average,
        "workloads": workloads,
        "rows": rows,
        "notes": notes,
    }


def _workload(baseline: Row, limit: Row, examples: int) -> dict[str, Any]:
    """Return a workload with its operations and, if the limit was measured, the seconds that they take at best."""
    workload = baseline.workload
    found: dict[str, Any] = asdict(workload) | {
        "description": workload.describe(),
        "baseline_label": baseline.label,
        "examples": examples,
        "flops": workload.flops(examples),
    }
    if limit.outcome == "ok" and any(limit.samples):
        size = limit.facts[-1]["size"]
        rate = 2 * size**3 / statistics.seconds(limit.samples)
        found |= {"gemm_size": size, "gemm_flops_per_second": rate, "limit_seconds": found["flops"] / rate}
    return found


def _row(row: Row, baseline: Row, limit: Row, examples: int) -> dict[str, Any]:
    """Return one row's figures; those made of samples are there only if its outcome is ok."""
    found: dict[str, Any] = {
        "workload": row.workload.name,
        "label": row.label,
        "implementation": row.implementation,
        "threads": row.threads,
        "outcome": row.outcome,
        "reason": row.reason,
    }
    if row.outcome != "ok" or not any(row.samples):
        return found
    facts = row.facts[: len(row.samples)]  # an interrupt may have come between
    first = facts[0]
    found |= {
        "seconds": statistics.seconds(row.samples),
        "spread": _finite(statistics.spread(row.samples)),
        "rounds_by_generation": [list(rounds) for rounds in row.samples],
        "cores_used": _total(row.cpu_seconds) / _total(row.samples),
        "peak_rss_bytes": max(of_process["peak_rss_bytes"] for of_process in facts),
        "overhead_percent": max(of_process["overhead_percent"] for of_process in facts),
        "import_seconds": first["import_seconds"],
        "setup_seconds": first["setup_seconds"],
        "first_call_seconds": first["first_call_seconds"],
        "calls_by_generation": [of_process["calls"] for of_process in facts],
        "thread_pools": first["thread_pools"],
        "build": first["build"],
        "compilations_in_samples": row.compilations,
        "outliers": statistics.outliers(row.samples),
    }
    if baseline.outcome == "ok" and row is not baseline:
        found["speed_up"] = _estimate(statistics.paired_ratio(baseline.samples, row.samples))
    if limit.outcome == "ok" and any(limit.samples):
        per_cent = 100 * row.workload.flops(examples) / (2 * limit.facts[-1]["size"] ** 3)
        found["percent_of_limit"] = _estimate(statistics.paired_ratio(limit.samples, row.samples), per_cent)
    return found


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Return in words what a reader should know before believing these rows of one workload."""
    name = rows[0]["workload"]
    notes = [
        f"{name}, {row['label']}: {row['outcome']}: {row['reason']}"
        for row in rows
        if row["outcome"] not in ("ok", "unavailable", "left out")
    ]
    timed = [row for row in rows if "seconds" in row]
    wide = []
    for row in timed:
        where = f"{name}, {row['label']}"
        estimate = row.get("speed_up", {})
        value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
        if row["label"] == CONTROL and low is not None and not low <= 1.0 <= high:
            notes.append(
                f"{where}: identical code differed, {low:.3f} to {high:.3f}: distrust differences of this size here"
            )
        elif low is not None and (high - low) / 2 > WIDE * value:
            wide.append(row["label"])
        if row["cores_used"] > row["threads"] * OVER_SHARE:
            notes.append(f"{where}: used {row['cores_used']:.2f} cores, it was given {row['threads']}")
        if row["compilations_in_samples"] or row["outliers"]:
            what = f"{row['compilations_in_samples']} compilations" if row["compilations_in_samples"] else "outliers"
            notes.append(f"{where}: {what} within the samples: something was compiled or disturbed while it was timed")
        if row["overhead_percent"] > MOST_OVERHEAD:
            notes.append(f"{where}: the harness's own share of a sample is {row['overhead_percent']:.1f} %")
    if wide:
        notes.append(f"{name}: intervals wider than ± {WIDE:.0%} for {', '.join(wide)}: measure longer or in quiet")
    if timed:
        processes = sum(map(bool, timed[0]["rounds_by_generation"]))
        if processes < FEWEST_PROCESSES:
            notes.append(f"{name}: {processes} processes a row; a claim needs at least {FEWEST_PROCESSES}")
        if (timed[0]["spread"] or 0) > NOISY_SPREAD:
            notes.append(
                f"{name}: noisy machine: the middle half of the baseline's samples spans {timed[0]['spread']:.0%}"
            )
    return notes


def _estimate(estimate: statistics.Estimate, scale: float = 1.0) -> dict[str, float | None]:
    return {name: _finite(value * scale) for name, value in estimate._asdict().items()}


def _total(samples: statistics.Generations) -> float:
    return sum(sum(rounds.values()) for rounds in samples)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read(path: Path) -> dict[str, Any]:
    """Return the content of a results file. Raises UserError if it is not one that this version can read."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON, or truncated: {error}") from error
    ours = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(ours, dict) or not isinstance(ours.get("schema"), int):
        raise UserError(f"{path}: not a results file of backprop-bench: expected the key {KEY!r} with a schema number")
    if ours["schema"] > SCHEMA:
        raise UserError(
            f"{path}: schema {ours['schema']}, this version reads up to {SCHEMA}; install a newer backprop-bench"
        )
    missing = {"workloads", "rows", "notes", "settings"} - ours.keys()
    if missing:
        raise UserError(f"{path}: incomplete: {KEY!r} lacks {', '.join(sorted(missing))}; run the benchmark again")
    found: dict[str, Any] = content
    return found


def compare(content: dict[str, Any], slow: str, fast: str) -> list[tuple[str, statistics.Estimate]]:
    """Return for each workload how many times faster one row is than another, from the samples in a results file.

    Raises UserError if no workload has both.
    """
    samples: dict[tuple[str, str], list[dict[int, float]]] = {}
    for benchmark in content["benchmarks"]:
        row, seconds = benchmark["extra_info"], iter(benchmark["stats"]["data"])
        samples[row["workload"], row["label"]] = [
            {number: next(seconds) for number in rounds} for rounds in row["rounds_by_generation"]
        ]
    names = [workload["name"] for workload in content[KEY]["workloads"]]
    both = [name for name in names if {(name, slow), (name, fast)} <= samples.keys()]
    if not both:
        timed = ", ".join(dict.fromkeys(label for _, label in samples))
        raise UserError(f"no workload has both {slow!r} and {fast!r}; timed were: {timed}")
    return [(name, statistics.paired_ratio(samples[name, slow], samples[name, fast])) for name in both]


def check_writable(folder: Path) -> None:
    """Raise UserError if results cannot be written to a folder: better before a run than after it."""
    probe = folder / f".probe.{os.getpid()}"
    write_whole(probe, "")
    probe.unlink()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all. Raises UserError if the folder cannot be written to."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
