"""What has to be the same for two results to be compared: the machine, the BLAS, the data, the workloads."""

from collections.abc import Mapping

from bench.records import Results, Row, WorkloadResult

ALIKE_RATE = 0.05  # by which the peak may differ between two runs on the same machine, before it is said


def machine_differences(old: Results, new: Results) -> list[str]:
    """Return in words what makes two runs incomparable as wholes; only facts that do not change from hour to hour."""
    one, other = old.machine, new.machine
    facts = [
        ("processor", one.cpu_model, other.cpu_model),
        ("usable CPUs", one.usable_cpus, other.usable_cpus),
        ("CPU quota", one.cpu_quota or "none", other.cpu_quota or "none"),
        ("NumPy's BLAS", one.numpy_blas, other.numpy_blas),
        ("data", old.data, new.data),
    ]
    return [f"{what}: {before or 'unknown'} before, {after or 'unknown'} now" for what, before, after in facts
            if before != after]  # fmt: skip


def workload_difference(old: WorkloadResult, new: WorkloadResult) -> str:
    """Return in words how two workloads of one name differ, "" if they do not."""
    one, other = old.workload, new.workload
    if one.describe() != other.describe() or old.examples != new.examples:
        return f"{one.describe()}, {old.examples} examples before; {other.describe()}, {new.examples} examples now"
    if one.baseline_label != other.baseline_label:
        return f"over {one.baseline_label} before, over {other.baseline_label} now"
    return ""


def row_difference(old: Row, new: Row) -> str:
    """Return in words what makes a row incomparable, another BLAS library or other threads; "" if nothing does."""
    if old.threads != new.threads:
        return f"{old.threads} threads before, {new.threads} now"
    before, after = _libraries(old), _libraries(new)
    if before and after and before != after:
        return f"{', '.join(sorted(before))} before, {', '.join(sorted(after))} now"
    return ""


def remarks(old: Results, new: Results) -> list[str]:
    """Return in words what else differs: it may be the very thing that is compared, or the reason for all of it."""
    one, other = old.machine, new.machine
    found = [
        *_changes({"Python": one.python}, {"Python": other.python}, "missing"),
        *_changes(one.versions, other.versions, "missing"),
        *_changes(one.variables, other.variables, "not set"),
    ]
    for of in new.workloads:
        rates = [each.peak.flops_per_second for each in (old.workload(of.workload.name), of) if each and each.peak]
        if len(rates) == 2 and rates[0] and rates[1] and abs(rates[1] / rates[0] - 1.0) > ALIKE_RATE:
            found.append(
                f"{of.workload.name}: the peak is {rates[1] / rates[0]:.2f} times what it was: another clock rate"
            )
    return found


def _changes(before: Mapping[str, str] | None, after: Mapping[str, str] | None, nothing: str) -> list[str]:
    """Return in words which values differ, those that are missing in the word for nothing; none if not recorded."""
    if before is None or after is None:
        return []
    values = {name: (before.get(name) or nothing, after.get(name) or nothing) for name in before.keys() | after.keys()}
    return [f"{name} {old} before, {new} now" for name, (old, new) in sorted(values.items()) if old != new]


def _libraries(row: Row) -> set[str]:
    return {f"{pool.internal_api} {pool.version or ''}".strip() for pool in row.thread_pools if pool.user_api == "blas"}
