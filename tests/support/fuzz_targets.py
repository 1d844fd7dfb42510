"""What is fuzzed. Each target takes any bytes and returns; it may raise UserError, with one line, and nothing else."""

import gzip
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from bench import training
from bench.analysis.compare_runs import compare_runs
from bench.analysis.results_files import read as read_results
from bench.analysis.results_files import to_builtins
from bench.analysis.scaling import read as read_scaling
from bench.analysis.verdict import read_limits
from bench.output import changes
from bench.output.page.page import page
from bench.output.plots.run_plots import draw
from bench.output.table import markdown, summary_lines
from bench.records import UNREADABLE, Results
from bench.training import Epoch
from bench.worker.protocol import AnyRequest, Failure, Reply, Taken
from bench.workloads import mnist
from bench.workloads.names import parse
from impls import ROOT
from impls.interface import Parameters
from impls.support.errors import UserError
from profiles import flamegraph
from profiles.recording import read as read_recording
from profiles.stacks import shares

IDX = b"\0\0\x08\x03" + b"\0\0\0\2" * 3 + bytes(range(8))
LABELS = b"\0\0\x08\x01" + (10_000).to_bytes(4) + bytes(10_000)
COURSE = training.Course((3, 2), batch_size=1, implementation="in_place", data="digits", ranks=1)


@contextmanager
def file(content: bytes, name: str) -> Iterator[Path]:
    """Give a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def idx(content: bytes) -> None:
    """A file that may be one of MNIST's, packed or not."""
    with file(content, "train-images-idx3-ubyte") as path:
        try:
            mnist.read(path.parent)
        except UserError as error:
            one_line(error)


def results(content: bytes) -> None:
    """A results file, with all that is made of it."""
    with file(content, "results.json") as path:
        found = read_results(path)
    page(found, [], [found, found])
    with tempfile.TemporaryDirectory() as folder:
        draw(found, Path(folder))
    markdown(found)
    summary_lines(found)
    comparison = compare_runs(found, found, gate=True)
    changes.lines(comparison, everything=True)
    changes.markdown(comparison)


def stacks(content: bytes) -> None:
    """A recording, with the picture of it."""
    with file(content, "row.raw.txt") as path:
        recording = read_recording(path)
    shares(recording.stacks)
    flamegraph.draw(recording)
    recording.raw()


def workload(content: bytes) -> None:
    """A workload as text."""
    parse(content.decode(errors="replace"))


def network(content: bytes) -> None:
    """A checkpoint."""
    try:
        training.resume(Path("network.npz"), content, COURSE)
    except UserError as error:
        one_line(error)


def protocol(content: bytes) -> None:
    """A worker's reply, or a request; these errors are what bench.runner.process expects."""
    for kind in (*(Failure | each for each in Reply.__subclasses__()), AnyRequest):
        try:
            msgspec.json.decode(content, type=kind)
        except UNREADABLE:
            continue


def limits(content: bytes) -> None:
    """A limits file."""
    with file(content, "limits.toml") as path:
        read_limits(path).limit("book", "in_place")


def scaling(content: bytes) -> None:
    """What `backprop scale` wrote."""
    with file(content, "scaling.json") as path:
        read_scaling(path)


def one_line(error: UserError) -> None:
    """Fail unless an error is told in one line."""
    if "\n" in str(error).strip():
        raise AssertionError(f"an error of several lines: {error!r}") from error


def run(target: Callable[[bytes], None], content: bytes) -> None:
    """Run a target on an input; anything but a UserError of one line is a finding."""
    try:
        target(content)
    except UserError as error:
        one_line(error)


def seeds(name: str) -> list[bytes]:
    """Return good inputs of a target."""
    made: dict[str, Callable[[], list[bytes]]] = {
        "idx": lambda: [IDX, gzip.compress(IDX, mtime=0), LABELS, gzip.compress(LABELS, mtime=0)],
        "results": lambda: [_results(), _results("batch")],
        "stacks": lambda: [_recording()],
        "workload": lambda: [b"book", b"784-64-10:32:float32:2", b"784-30-10:10:float64:1:1500"],
        "network": lambda: [_network(), _checkpoint()],
        "protocol": lambda: [_reply()],
        "limits": lambda: [b'fail-on = "5%"\n[rows]\njax = "10%"\n[workloads.book]\n"*" = "8%"\n'],
        "scaling": lambda: [_scaling()],
    }
    return made[name]()


TARGETS = {each.__name__: each for each in (idx, results, stacks, workload, network, protocol, limits, scaling)}


def _results(sweep: str = "") -> bytes:
    from made_up_results import made_up_results

    found = made_up_results()
    found.workloads[0].workload = msgspec.structs.replace(found.workloads[0].workload, sweep=sweep)
    for row in found.rows:
        row.processes = row.processes[:2]
    return json.dumps({Results.KEY: to_builtins(found)}).encode()


def _scaling() -> bytes:
    from made_up_scaling import made_up

    return msgspec.json.encode(made_up())


def _recording() -> bytes:
    path = min((ROOT / "profiles" / "recordings").glob("*.raw.txt"))
    return "\n".join(path.read_text(encoding="utf-8").splitlines()[:21]).encode()


def _parameters() -> Parameters:
    return Parameters([np.ones((2, 3))], [np.ones(2)])


def _network() -> bytes:
    with file(b"", "network.npz") as path:
        training.save(path, _parameters())
        return path.read_bytes()


def _checkpoint() -> bytes:
    with file(b"", "network.npz") as path:
        training.write_checkpoint(path, COURSE, Epoch(0, 1, 1, 1.0, _parameters()))
        return path.read_bytes()


def _reply() -> bytes:
    return msgspec.json.encode(Taken(0.0, 1.0, 1.0, 1.0, 1, 1, 0.0, 0.0, 0.0, 0.0, 1, 0))
