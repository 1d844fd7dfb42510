"""What a recording holds, the notes that it needs, and its files."""

import json
import re
from pathlib import Path

import msgspec

from bench import records
from bench.analysis.results_files import kind_of
from impls.support.errors import UserError
from impls.support.text import one_line
from profiles.stacks import Stacks, parse

RAW = ".raw.txt"  # ends the name of a recording's file
MIN_SAMPLES = 1_000  # for ± 3 points at 95 %
MAX_BEHIND_SECONDS = 1.0
MAX_SLOWDOWN = 1.10  # steps per second without the profiler over those with it
MAX_WAITING = 0.02  # of the samples
MIN_WITHIN = 0.98  # of the samples must be within the implementation's own frames
SPEEDSCOPE_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded, and how: the first line of a recording's file."""

    row: str
    workload: str
    threads: int
    seconds: int
    rate: int  # samples per second
    native: bool
    steps_per_second: float  # while py-spy was attached
    steps_per_second_alone: float  # before py-spy was attached
    behind_seconds: float  # the most that py-spy was late
    unseen: str  # what cannot be in the picture
    outside: int  # samples of the loop around the implementation, which have no stacks here
    waiting: int  # samples of threads that waited, which have no stacks here


class Recording(Facts, frozen=True):
    """One recording: the facts and the cleaned stacks."""

    stacks: Stacks

    @property
    def samples(self) -> int:
        """Return the number of samples within the implementation."""
        return self.stacks.total()

    @property
    def title(self) -> str:
        """Return what was recorded: `per_example · book · 1 thread`."""
        return one_line(f"{self.row} · {self.conditions}")

    @property
    def conditions(self) -> str:
        """Return the workload and the number of threads: `book · 1 thread`."""
        return one_line(f"{self.workload} · {self.threads} thread{'' if self.threads == 1 else 's'}")

    def notes(self) -> list[str]:
        """Return in words what a reader of the picture should know."""
        notes = [one_line(f"Not in the picture: {self.unseen}.")] if self.unseen else []
        if self.samples < MIN_SAMPLES:
            notes.append(f"Only {self.samples} samples; {MIN_SAMPLES:,} are needed for ± 3 points.")
        if not self.native:
            notes.append("Without native frames: what C, BLAS and Rust do counts as the Python line that called them.")
        if self.waiting > MAX_WAITING * (self.samples + self.outside + self.waiting):
            notes.append(f"Skipped: {self.waiting} samples of threads that only waited.")
        within = self.samples / (self.samples + self.outside)
        if within < MIN_WITHIN:
            notes.append(f"Only {100 * within:.1f} % of the samples were within the implementation.")
        if self.behind_seconds > MAX_BEHIND_SECONDS:
            notes.append(
                f"py-spy was {self.behind_seconds:.1f} s behind: samples may be attributed to the wrong place."
            )
        if self.steps_per_second_alone > MAX_SLOWDOWN * self.steps_per_second:
            speed = self.steps_per_second / self.steps_per_second_alone
            notes.append(f"The profiler slowed the implementation to {100 * speed:.0f} % of its speed.")
        return notes

    def raw(self) -> str:
        """Return the collapsed stacks as text, with one comment line that says what they are."""
        facts = {name: getattr(self, name) for name in Facts.__struct_fields__}
        lines = [f"{';'.join(stack)} {count}" for stack, count in sorted(self.stacks.items())]
        return "\n".join([f"# {json.dumps(facts, ensure_ascii=False)}", *lines]) + "\n"

    def speedscope(self) -> str:
        """Return the samples in the JSON of speedscope."""
        frames = sorted({frame for stack in self.stacks for frame in stack})
        index = {frame: number for number, frame in enumerate(frames)}
        profile = {
            "type": "sampled",
            "name": self.title,
            "unit": "none",
            "startValue": 0,
            "endValue": self.samples,
            "samples": [[index[frame] for frame in stack] for stack in self.stacks],
            "weights": list(self.stacks.values()),
        }
        shared = {"frames": [{"name": frame} for frame in frames]}
        return json.dumps({"$schema": SPEEDSCOPE_SCHEMA, "shared": shared, "profiles": [profile]}) + "\n"


def file_name(text: str) -> str:
    """Return a text as the name of a file: no part of it leads to another folder, and it is not too long for one."""
    return re.sub(r"[^\w.-]", "-", text)[:100].lstrip(".") or "-"


def read(path: Path) -> Recording:
    """Return the recording in a file of collapsed stacks that `backprop profile` wrote. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    first_line = text.partition("\n")[0]
    kind = "" if first_line.startswith("# {") else kind_of(text.encode())
    if kind:
        raise UserError(f"{path}: not a recording of backprop profile, but {kind}")
    try:
        facts = msgspec.json.decode(first_line.removeprefix("# "), type=Facts)
        stacks = parse(text)
    except (*records.UNREADABLE, UserError) as error:
        raise UserError(
            f"{path}: not a recording: expected collapsed stacks of backprop profile --format raw: {error}"
        ) from error
    if not stacks.total():
        raise UserError(f"{path}: not a recording: it has no samples")
    return Recording(**msgspec.structs.asdict(facts), stacks=stacks)
