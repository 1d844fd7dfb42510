"""The command `backprop profile`: record rows, compare recordings."""

import sys
from pathlib import Path

import click
from rich.console import Console

from bench.errors import UserError
from bench.process import WorkerFailed
from bench.results import check_writable, write_whole
from bench.workloads import Workload, parse
from impls import RowError, find, rows
from profiles import flamegraph
from profiles.recorder import NoSamples, NotPermitted, Recording, read, record

RAW = ".raw.txt"
FORMATS = ("flamegraph", "raw", "speedscope")
FAILED, NOT_PERMITTED = 1, NotPermitted.exit_status


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME|PATH:CLASS|FILE.raw.txt]… | diff A B")
@click.option("--workload", default="book", show_default=True)
@click.option("--seconds", type=click.IntRange(1, 3600), default=6, show_default=True, help="Whole seconds a row.")
@click.option("--rate", type=click.IntRange(1, 1000), default=200, show_default=True, help="Samples a second.")
@click.option("--native/--no-native", default=True, help="Frames of C, BLAS and Rust, too.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="flamegraph", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("profiles"), show_default=True)
def profile(names: tuple[str, ...], workload: str, seconds: int, rate: int, native: bool, form: str, out: Path) -> int:
    """Record where rows spend their time, all available rows if none is named; or compare two.

    A recording made before (.raw.txt) may stand for a row: its picture is drawn again. Exit status: 0 all recorded,
    1 something failed, 3 profiling is not permitted here.
    """
    from profiles import tables  # draws: half a second that the other commands need not wait

    console = Console(highlight=False, markup=False, soft_wrap=True, width=160)
    chosen = parse(workload)
    check_writable(out)
    if names[:1] == ("diff",):
        return _diff(names[1:], chosen, seconds, rate, native, out, console)
    known = names or tuple(name for name, row in rows().items() if row.unavailable() is None)
    recordings: list[Recording] = []
    status = 0
    for name in known:
        if not name.endswith(RAW):
            find(name)  # a misspelt name ends the command before anything is recorded
    for name in known:
        try:
            recording = _recording(name, chosen, seconds, rate, native)
        except NotPermitted as error:
            print(f"{name}: skipped: {error}", file=sys.stderr)
            status = NOT_PERMITTED
            break  # no row fares better
        except (NoSamples, RowError, WorkerFailed) as error:
            outcome = getattr(error, "outcome", "failed")
            print(f"{name}: {outcome}: {error}", file=sys.stderr)
            status = status if outcome == "left out" and not names else FAILED
            continue
        recordings.append(recording)
        for path in _write(recording, form, out):
            console.print(f"{name}: {path}")
        for note in recording.notes():
            console.print(f"{name}: {note}")
    if recordings:
        console.print(tables.share_table(recordings))
        workloads = "-".join(dict.fromkeys(recording.workload for recording in recordings))
        for path in tables.share_plot(recordings, out / f"shares.{_file_name(workloads)}"):
            console.print(f"plot: {path}")
    return status


def _recording(name: str, workload: Workload, seconds: int, rate: int, native: bool) -> Recording:
    """Record a row, or read the recording that is named instead of one."""
    return read(Path(name)) if name.endswith(RAW) else record(name, workload, seconds, rate, native)


def _write(recording: Recording, form: str, out: Path) -> list[Path]:
    """Write what was asked for; the collapsed stacks are always there, so that pictures can be made again."""
    paths = {out / f"{recording.stem}{RAW}": recording.raw()}
    if form == "flamegraph":
        svg = flamegraph.draw(recording.stacks, recording.title, recording.notes())
        paths[out / f"{recording.stem}.svg"] = svg
    elif form == "speedscope":
        paths[out / f"{recording.stem}.speedscope.json"] = flamegraph.speedscope(recording.stacks, recording.title)
    for path, text in paths.items():
        write_whole(path, text)
    return list(paths)


def _diff(
    names: tuple[str, ...], workload: Workload, seconds: int, rate: int, native: bool, out: Path, console: Console
) -> int:
    """Compare two rows or recordings; draw both directions if they are of the same row."""
    from profiles import tables

    if len(names) != 2:
        raise UserError(f"profile diff: expected two rows or recordings, found {len(names)}")
    before, after = (_recording(name, workload, seconds, rate, native) for name in names)
    console.print(f"before: {before.title}\nafter:  {after.title}")
    console.print(tables.difference_table(before.stacks, after.stacks))
    if before.row != after.row:
        console.print("Two rows have few frames in common: no differential flamegraph is drawn.")
        return 0
    for one, other, direction in ((before, after, "diff"), (after, before, "diff-back")):
        title = f"{other.title}: what changed" + (", seen backwards" if other is before else "")
        svg = flamegraph.draw_difference(one.stacks, other.stacks, title, other.notes())
        path = out / f"{other.stem}.{direction}.svg"
        write_whole(path, svg)
        console.print(f"differential flamegraph: {path}")
    return 0


def _file_name(text: str) -> str:
    return text.replace(":", "-")
