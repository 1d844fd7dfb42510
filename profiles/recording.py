"""What a recording holds, the notes that it needs, and its file."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from bench import records
from bench.results.kinds import kind_of
from impls.errors import UserError
from impls.text import one_line
from profiles.stacks import Stacks, parse

MIN_SAMPLES = 1_000  # for ± 3 points at 95 %
MAX_BEHIND_SECONDS = 1.0
SLOWED = 1.10  # steps per second without the profiler over those with it
MAX_WAITING = 0.02  # of the samples, from which on it is said
MIN_WITHIN = 0.98  # of the samples must be within the row's own frames


@dataclass(frozen=True)
class Facts:
    """What was recorded, and how."""

    row: str
    workload: str
    threads: int
    seconds: int
    rate: int  # samples a second
    native: bool
    steps_per_second: float  # while py-spy was attached …
    steps_per_second_alone: float  # … and before
    behind_seconds: float  # by which py-spy was late at worst
    unseen: str  # what cannot be in the picture, from facts about the row


class _LeftOut(msgspec.Struct):
    """The samples that a file of stacks has no stacks of."""

    outside: int
    waiting: int


@dataclass(frozen=True)
class Recording(Facts):
    """One recording: the facts and the cleaned stacks."""

    stacks: Stacks

    @property
    def title(self) -> str:
        """Return what was recorded: `per_example · book · 1 thread`."""
        return one_line(f"{self.row} · {self.workload} · {self.threads_text}")

    @property
    def threads_text(self) -> str:
        """Return the number of threads in words: `1 thread`."""
        return f"{self.threads} thread{'' if self.threads == 1 else 's'}"

    @property
    def stem(self) -> str:
        """Return the name of its files, without the ending."""
        return file_name(f"{self.row}.{self.workload}.{self.threads}")

    def notes(self) -> list[str]:
        """Return in words what a reader of the picture should know."""
        notes = [one_line(f"Not in the picture: {self.unseen}.")] if self.unseen else []
        if self.stacks.samples < MIN_SAMPLES:
            notes.append(f"Only {self.stacks.samples} samples; {MIN_SAMPLES:,} are needed for ± 3 points.")
        if not self.native:
            notes.append("Without native frames: what C, BLAS and Rust do counts as the Python line that called them.")
        everything = self.stacks.samples + self.stacks.outside + self.stacks.waiting
        if self.stacks.waiting > MAX_WAITING * everything:
            notes.append(f"Left out: {self.stacks.waiting} of {everything} samples, of threads that only waited.")
        within = self.stacks.samples / max(1, self.stacks.samples + self.stacks.outside)
        if within < MIN_WITHIN:
            notes.append(f"Only {100 * within:.1f} % of the samples were within the row; the others are left out.")
        if self.behind_seconds > MAX_BEHIND_SECONDS:
            notes.append(f"py-spy was {self.behind_seconds:.1f} s behind: the samples may not be where they seem.")
        slowdown = self.steps_per_second_alone / self.steps_per_second if self.steps_per_second else float("inf")
        if slowdown > SLOWED:
            notes.append(f"The profiler slowed the row to {100 / slowdown:.0f} % of its speed.")
        return notes

    def raw(self) -> str:
        """Return the collapsed stacks as text, with one comment line that says what they are."""
        facts = _plain(self) | {"outside": self.stacks.outside, "waiting": self.stacks.waiting}
        lines = [f"{';'.join(stack)} {count}" for stack, count in sorted(self.stacks.counts.items())]
        return "\n".join([f"# {json.dumps(facts, ensure_ascii=False)}", *lines]) + "\n"


def file_name(text: str) -> str:
    """Return a text as the name of a file: no part of it leads to another folder, and it is not too long for one."""
    return re.sub(r"[^\w.-]", "-", text)[:100].lstrip(".") or "-"


def read(path: Path) -> Recording:
    """Return the recording in a file of collapsed stacks that `backprop profile` wrote. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    header = text.partition("\n")[0].removeprefix("# ")
    kind = "" if text.startswith("# {") else kind_of(text.encode())
    if kind:
        raise UserError(f"{path}: not a recording of backprop profile, but {kind}")
    try:
        facts = msgspec.json.decode(header, type=Facts)
        left_out = msgspec.json.decode(header, type=_LeftOut)
    except records.UNREADABLE as error:
        raise UserError(
            f"{path}: not a recording: expected collapsed stacks of backprop profile --format raw: {error}"
        ) from error
    try:
        stacks = Stacks(parse(text), left_out.outside, left_out.waiting)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not stacks.samples:
        raise UserError(f"{path}: not a recording: it has no samples")
    return Recording(**_plain(facts), stacks=stacks)


def _plain(facts: Facts) -> dict[str, Any]:
    return {field.name: getattr(facts, field.name) for field in fields(Facts)}
