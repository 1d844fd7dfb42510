"""Figures of the recordings in profiles/recordings, for pages; bench/report/pages.py says how they are used."""

from pathlib import Path

from impls.errors import UserError
from profiles.recording import read
from profiles.stacks import CATEGORIES, PRODUCTS, Share, Stacks, shares, wilson

RECORDINGS = Path(__file__).parent / "recordings"


def share(row: str, workload: str, category: str = "products", threads: str = "1") -> str:
    """Return a category's share of a recording, or that of all matrix products, with its margin: 49.3 ± 2.8.

    Underscores stand for blanks.
    """
    return _text(_share(_stacks(row, workload, threads), category.replace("_", " ")))


def share_table(*workloads: str) -> str:
    """Return the table of all recordings: the share of the products, a column a workload."""
    rows = list(dict.fromkeys(path.name.split(".")[0] for path in RECORDINGS.glob("*.raw.txt")))
    lines = [
        f"| row | {' | '.join(f'`{workload}`' for workload in workloads)} |",
        f"| --- |{' ---: |' * len(workloads)}",
    ]
    from impls.registry import entries

    for row in (name for name in entries() if name in rows):
        cells = []
        for workload in workloads:
            there = (RECORDINGS / f"{row}.{workload}.1.raw.txt").is_file()
            found = _share(_stacks(row, workload, "1"), "products") if there else None
            cells.append(_text(found) if found and found.value > 0 else "–")
        lines.append(f"| `{row}` | {' | '.join(cells)} |")
    return "\n\n{}\n\n".format("\n".join(lines))


def frame_share(row: str, workload: str, text: str, threads: str = "1") -> str:
    """Return the share of the samples with a frame that holds `text`: 52.9 ± 2.8."""
    stacks = _stacks(row, workload, threads)
    inside = sum(n for stack, n in stacks.counts.items() if any(text in frame for frame in stack))
    return _text(wilson(inside, stacks.samples))


def slowed(workload: str, *rows: str) -> str:
    """Return the speed of these rows under the profiler, in per cent of their own, lowest and highest: 64 to 80 %."""
    recordings = [read(RECORDINGS / f"{row}.{workload}.1.raw.txt") for row in rows]
    found = sorted(round(100 * of.steps_per_second / of.steps_per_second_alone) for of in recordings)
    return f"{found[0]} %" if found[0] == found[-1] else f"{found[0]} to {found[-1]} %"


def samples(workload: str) -> str:
    """Return the lowest and the highest number of samples of a workload's recordings: 1,170 to 1,197."""
    found = [read(path).stacks.samples for path in RECORDINGS.glob(f"*.{workload}.1.raw.txt")]
    return f"{min(found):,} to {max(found):,}"


def _stacks(row: str, workload: str, threads: str) -> Stacks:
    return read(RECORDINGS / f"{row}.{workload}.{threads}.raw.txt").stacks


def _share(stacks: Stacks, name: str) -> Share:
    if name == "products":
        found = shares(stacks)
        return wilson(sum(round(found[kind].value * stacks.samples) for kind in PRODUCTS), stacks.samples)
    if name not in CATEGORIES:
        raise UserError(f"figures: share: expected products or one of {', '.join(CATEGORIES)}, found {name!r}")
    return shares(stacks)[name]


def _text(found: Share) -> str:
    return f"{100 * found.value:.1f} ± {100 * found.margin:.1f}"
