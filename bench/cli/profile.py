"""The command `backprop profile`: record implementations, draw recordings, compare two."""

import sys
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from bench.cli.options import complete_implementations
from bench.conditions import Workload
from bench.records import Outcome
from bench.runner.process import WorkerFailed
from bench.system.files import check_writable, write_whole
from bench.workloads.names import parse
from impls.registry import entries, find, find_all
from impls.support.errors import RowError, UserError
from profiles import flamegraph
from profiles.recorder import NoSamples, NotPermitted, record
from profiles.recording import RAW, Recording, file_name, read

FILE_SUFFIXES = (".txt", ".folded", ".json", ".svg")
FORMATS = ("flamegraph", "raw", "speedscope")
FOLDER = Path("profiles")  # for the files of implementations


class Source(NamedTuple):
    """What is named on the command line: an implementation, or a file with a recording that stands for one."""

    name: str
    recording: Recording | None  # of a file
    stem: Path  # the path of its files without their endings


@click.command()
@click.argument(
    "names",
    nargs=-1,
    metavar="[[LABEL=]NAME|PATH:CLASS|FILE.raw.txt]… | diff A B",
    shell_complete=complete_implementations,
)
@click.option("--workload", default="book", show_default=True, help="A workload of the benchmark.")
@click.option("--seconds", type=click.IntRange(1, 3600), default=6, show_default=True, help="Whole seconds each.")
@click.option("--rate", type=click.IntRange(1, 1000), default=200, show_default=True, help="Samples per second.")
@click.option("--native/--no-native", default=True, help="Frames of C, BLAS and Rust, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="flamegraph",
    show_default=True,
    help="A picture, text, or JSON.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: profiles; for FILE.raw.txt its own]")
def profile(
    names: tuple[str, ...], workload: str, seconds: int, rate: int, native: bool, form: str, out: Path | None
) -> int:
    """Record where implementations spend their time, all available ones if none is named; or compare two.

    A recording made before (.raw.txt) may stand for an implementation: its picture is drawn again, under the file's
    name; the file itself stays as it is.

    \b
    backprop profile in_place --workload=large
    backprop profile diff batched_2d in_place

    Exit status: 0 all recorded, 1 something failed, 3 profiling is not permitted here.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True, width=100)
    is_comparison = names[:1] == ("diff",)
    named = names[1:] if is_comparison else names or _available()
    if is_comparison and len(named) != 2:
        raise UserError(f"profile diff: expected two implementations or recordings, found {len(named)}")
    condition = parse(workload)
    sources = _sources(named, condition, out)
    recordings: list[Recording] = []
    status = 0
    for source in sources:
        try:
            recording = source.recording or record(find(source.name), condition, seconds, rate, native)
        except NotPermitted as error:
            print(f"{source.name}: skipped: {error}", file=sys.stderr)
            return NotPermitted.exit_status
        except (NoSamples, RowError, WorkerFailed) as error:
            outcome = getattr(error, "outcome", "failed")
            print(f"{source.name}: {outcome}: {error}", file=sys.stderr)
            if names or outcome != Outcome.TOO_SLOW:
                status = 1
            continue
        recordings.append(recording)
        if not (is_comparison and source.recording):
            _write(source, recording, form, console)
    if is_comparison and status == 0:
        _show_difference(recordings, sources[1].stem, console)
    elif recordings:
        _show_shares(recordings, sources[0].stem.parent, console)
    return status


def _available() -> tuple[str, ...]:
    """Return the names of all implementations that can run here."""
    return tuple(name for name, entry in entries().items() if entry.unavailable() is None)


def _sources(names: tuple[str, ...], workload: Workload, out: Path | None) -> list[Source]:
    """Return what is named. Raises UserError for a mistake, before anything is recorded."""
    find_all(name for name in names if not name.endswith(FILE_SUFFIXES))  # Two of one name would share their files.
    sources = []
    for name in names:
        if name.endswith(FILE_SUFFIXES):
            recording, folder, stem = read(Path(name)), Path(name).parent, Path(name).name.removesuffix(RAW)
        else:
            recording, folder = None, FOLDER
            stem = file_name(f"{find(name).name}.{workload.name}.{workload.threads}")
        check_writable(out or folder)
        sources.append(Source(name, recording, (out or folder) / stem))
    return sources


def _write(source: Source, recording: Recording, form: str, console: Console) -> None:
    """Write the collapsed stacks unless they were read, and the picture or profile; say where, and what to know."""
    texts = {} if source.recording else {RAW: recording.raw()}
    if form == "flamegraph":
        texts[".svg"] = flamegraph.draw(recording)
    elif form == "speedscope":
        texts[".speedscope.json"] = recording.speedscope()
    for ending, text in texts.items():
        path = Path(f"{source.stem}{ending}")
        write_whole(path, text)
        console.print(f"{source.name}: {path}")
    for note in recording.notes():
        console.print(f"{source.name}: {note}")


def _show_shares(recordings: list[Recording], folder: Path, console: Console) -> None:
    """Print the shares of the categories; draw those of several recordings."""
    from profiles import tables  # It imports matplotlib, which other commands need not wait for.

    recordings = tables.ordered(recordings)
    console.print(tables.share_table(recordings))
    if len(recordings) > 1:
        path = folder / f"{file_name(f'shares.{recordings[0].workload}')}.png"
        console.print(f"plot: {tables.share_plot(recordings, path)}")


def _show_difference(recordings: list[Recording], stem: Path, console: Console) -> None:
    """Print the changes of the shares; draw those of the frames if the recordings are of one implementation."""
    from profiles import tables

    before, after = recordings
    console.print(f"before: {before.title}\nafter:  {after.title}")
    console.print(tables.difference_table(before.stacks, after.stacks))
    if before.row != after.row:
        console.print("Two implementations have few frames in common: no differential flamegraph is drawn.")
        return
    path = Path(f"{stem}.diff.svg")
    write_whole(path, flamegraph.draw_difference(before, after))
    console.print(f"differential flamegraph: {path}")
