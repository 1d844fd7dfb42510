"""The command `backprop profile`: record rows, compare recordings."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bench.files import check_writable, write_whole
from bench.measurement.process import WorkerFailed
from bench.options import complete_implementations
from bench.problem.workloads import parse
from bench.records import Workload
from impls.errors import RowError, Unavailable, UserError
from impls.registry import Entry, entries, find, find_all
from profiles import flamegraph
from profiles.py_spy import NoSamples, NotPermitted
from profiles.recorder import record
from profiles.recording import Recording, file_name, read
from profiles.speedscope import speedscope

RAW = ".raw.txt"
FILES = (".txt", ".folded", ".json", ".svg")  # the ends of names of files, also of those that are not there
FORMATS = ("flamegraph", "raw", "speedscope")
FAILED, NOT_PERMITTED = 1, NotPermitted.exit_status


ROWS_FOLDER = Path("profiles")  # where rows' files go unless --out says otherwise; those of a file go beside it


@dataclass(frozen=True)
class File:
    """A recording made before, that stands for a row."""

    path: Path
    recording: Recording


@dataclass(frozen=True)
class Options:
    """How rows are recorded, and where the files go."""

    workload: Workload
    seconds: int
    rate: int
    native: bool
    form: str
    out: Path | None

    def folder(self, source: Entry | File) -> Path:
        """Return the folder of a source's files."""
        return self.out or (source.path.parent if isinstance(source, File) else ROWS_FOLDER)

    def recording(self, source: Entry | File) -> Recording:
        """Return a file's recording, or record the row."""
        if isinstance(source, File):
            return source.recording
        return record(source, self.workload, self.seconds, self.rate, self.native)


@click.command()
@click.argument(
    "names",
    nargs=-1,
    metavar="[[LABEL=]NAME|PATH:CLASS|FILE.raw.txt]… | diff A B",
    shell_complete=complete_implementations,
)
@click.option("--workload", default="book", show_default=True)
@click.option("--seconds", type=click.IntRange(1, 3600), default=6, show_default=True, help="Whole seconds a row.")
@click.option("--rate", type=click.IntRange(1, 1000), default=200, show_default=True, help="Samples a second.")
@click.option("--native/--no-native", default=True, help="Frames of C, BLAS and Rust, too.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="flamegraph", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: profiles; for FILE.raw.txt its own]")
def profile(
    names: tuple[str, ...], workload: str, seconds: int, rate: int, native: bool, form: str, out: Path | None
) -> int:
    """Record where rows spend their time, all available rows if none is named; or compare two.

    A recording made before (.raw.txt) may stand for a row: its picture is drawn again, under the file's name; the file
    itself stays as it is.

    \b
    backprop profile in_place --workload=large
    backprop profile diff batched_2d in_place

    Exit status: 0 all recorded, 1 something failed, 3 profiling is not permitted here.
    """
    from profiles import tables  # draws: half a second that the other commands need not wait

    console = Console(highlight=False, markup=False, soft_wrap=True, width=100)
    options = Options(parse(workload), seconds, rate, native, form, out)
    if names[:1] == ("diff",):
        return _diff(names[1:], options, console)
    known = names or tuple(name for name, entry in entries().items() if entry.unavailable() is None)
    find_all(name for name in known if not _is_file(name))  # two of one name would overwrite each other's files
    sources = [_source(name) for name in known]  # a mistake ends the command before anything is recorded
    for folder in {options.folder(source) for source in sources}:
        check_writable(folder)
    recordings: list[Recording] = []
    status = 0
    for name, source in zip(known, sources, strict=True):
        try:
            recording = options.recording(source)
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
        for path in _write(source, recording, options):
            console.print(f"{name}: {path}")
        for note in recording.notes():
            console.print(f"{name}: {note}")
    if recordings:
        console.print(tables.share_table(recordings))
    if recordings and len(known) > 1:  # a comparison needs two
        workloads = "-".join(dict.fromkeys(recording.workload for recording in recordings))
        for path in tables.share_plot(recordings, options.folder(sources[0]) / file_name(f"shares.{workloads}")):
            console.print(f"plot: {path}")
    return status


def _source(name: str) -> Entry | File:
    """Return the implementation that is named, or the recording that stands for one. Raises UserError."""
    return File(Path(name), read(Path(name))) if _is_file(name) else find(name)


def _is_file(name: str) -> bool:
    """Return whether a file is named, and not an implementation."""
    return name not in entries() and (name.endswith(FILES) or Path(name).is_file())


def _stem(source: Entry | File, recording: Recording) -> str:
    """Return the name of a source's files, without the ending."""
    return source.path.name.removesuffix(RAW) if isinstance(source, File) else recording.stem


def _write(source: Entry | File, recording: Recording, options: Options) -> list[Path]:
    """Write what was asked for, and the collapsed stacks unless they were read, so that pictures can be made again."""
    texts = {} if isinstance(source, File) else {RAW: recording.raw()}
    if options.form == "flamegraph":
        texts[".svg"] = flamegraph.draw(recording.stacks, recording.title, recording.notes())
    elif options.form == "speedscope":
        texts[".speedscope.json"] = speedscope(recording.stacks, recording.title)
    paths = []
    for ending, text in texts.items():
        path = options.folder(source) / f"{_stem(source, recording)}{ending}"
        write_whole(path, text)
        paths.append(path)
    return paths


def _diff(names: tuple[str, ...], options: Options, console: Console) -> int:
    """Compare two rows or recordings; draw both directions if they are of the same row."""
    from profiles import tables

    if len(names) != 2:
        raise UserError(f"profile diff: expected two rows or recordings, found {len(names)}")
    sources = [_source(name) for name in names]
    for source in sources:  # nothing is recorded before both are known to be there
        reason = None if isinstance(source, File) else source.unavailable()
        if isinstance(source, Entry) and reason:
            raise Unavailable(f"{source.name} is unavailable: it {reason}")
        check_writable(options.folder(source))
    before, after = (options.recording(source) for source in sources)
    console.print(f"before: {before.title}\nafter:  {after.title}")
    console.print(tables.difference_table(before.stacks, after.stacks))
    if before.row != after.row:
        console.print("Two rows have few frames in common: no differential flamegraph is drawn.")
        return 0
    for one, other, source, direction in (
        (before, after, sources[1], "diff"),
        (after, before, sources[0], "diff-back"),
    ):
        title = f"{other.title}: what changed" + (", seen backwards" if other is before else "")
        svg = flamegraph.draw_difference(one.stacks, other.stacks, title, other.notes())
        path = options.folder(source) / f"{_stem(source, other)}.{direction}.svg"
        write_whole(path, svg)
        console.print(f"differential flamegraph: {path}")
    return 0
