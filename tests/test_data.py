"""The data sets: what they hold, and what is said about files and downloads that are not as they should be."""

import contextlib
import errno
import gzip
import hashlib
import io
import itertools
import logging
import os
import re
import signal
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pooch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rich.console import Console

from bench.problem import data, dataset, mnist
from impls.errors import UserError
from impls.interface import Array
from impls.needs import backprop_command

MNIST = os.environ.get(data.ENVIRONMENT)
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = mnist.CONTENT


def idx(array: Array) -> bytes:
    """Return the IDX file of an array of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the four files of a small MNIST, 12 and 5 images, which are the known ones for this test."""
    rng = np.random.default_rng(0)
    files = {
        IMAGES: idx(rng.integers(256, size=(12, 28, 28))),
        LABELS: idx(rng.integers(10, size=12)),
        TEST_IMAGES: idx(rng.integers(256, size=(5, 28, 28))),
        TEST_LABELS: idx(rng.integers(10, size=5)),
    }
    know(files, monkeypatch)
    return files


def know(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sizes and the SHA-256 of these files the known ones."""
    known = {name: (len(file), hashlib.sha256(file).hexdigest()) for name, file in files.items()}
    monkeypatch.setattr(mnist, "CONTENT", known)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files, compressed, and return their folder."""
    folder.mkdir(exist_ok=True)
    for name, file in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(file))
    return folder


def test_digits_are_the_default_and_fill_the_books_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.ENVIRONMENT, raising=False)
    digits = data.load()
    assert digits.name == "digits"
    assert (digits.x_train.shape, digits.labels_train.shape) == ((1500, 784), (1500,))
    assert (digits.x_test.shape, digits.labels_test.shape) == ((297, 784), (297,))
    for x, labels in ((digits.x_train, digits.labels_train), (digits.x_test, digits.labels_test)):
        assert x.dtype == np.float64
        assert x.flags.c_contiguous
        assert (x.min(), x.max()) == (0, 1)
        assert set(labels) == set(range(10))


def test_digits_are_the_small_images_enlarged() -> None:
    from sklearn.datasets import load_digits

    small = load_digits().images[0] / 16  # (8, 8)
    image = data.load("digits").x_train[0].reshape(28, 28)
    for row in range(28):
        for column in range(28):
            inside = 2 <= row < 26 and 2 <= column < 26
            assert image[row, column] == (small[(row - 2) // 3, (column - 2) // 3] if inside else 0)


@pytest.mark.skipif(not MNIST, reason=f"{data.ENVIRONMENT} does not name a folder with MNIST")
def test_real_mnist() -> None:
    dataset = data.load()
    assert dataset.name == "mnist"
    assert (dataset.x_train.shape, dataset.x_test.shape) == ((50_000, 784), (10_000, 784))
    assert (dataset.x_train.min(), dataset.x_train.max()) == (0, 255 / 256)
    assert dataset.labels_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.labels_test[:5].tolist() == [7, 2, 1, 0, 4]
    # the first pixels with ink, as they are in the book's mnist.pkl.gz
    assert dataset.x_train[0, 152:156].tolist() == [0.01171875, 0.0703125, 0.0703125, 0.0703125]


def test_mnist_from_a_folder_compressed_or_not(tmp_path: Path, content: dict[str, bytes]) -> None:
    write(tmp_path, content)
    (tmp_path / f"{IMAGES}.gz").unlink()
    (tmp_path / IMAGES).write_bytes(content[IMAGES])
    dataset = data.load(tmp_path)
    pixels = np.frombuffer(content[IMAGES], np.uint8, offset=16).reshape(12, 784)
    np.testing.assert_array_equal(dataset.x_train, pixels / 256)
    np.testing.assert_array_equal(dataset.labels_train, list(content[LABELS][8:]))
    assert dataset.x_test.shape == (5, 784)


def test_mnist_is_split_as_in_the_book(
    tmp_path: Path, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MNIST_TO_TRAIN", 10)
    dataset = data.load(write(tmp_path, content))
    assert (len(dataset.x_train), len(dataset.labels_train), len(dataset.x_test)) == (10, 10, 5)


def test_sources_of_mnist(tmp_path: Path, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, content)
    monkeypatch.setenv(data.ENVIRONMENT, str(tmp_path))
    assert data.load().name == "mnist"
    assert data.load("digits").name == "digits"
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path)
    monkeypatch.delenv(data.ENVIRONMENT)
    assert data.load("mnist").name == "mnist"
    assert data.load().name == "digits"
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "nowhere")
    monkeypatch.setenv(data.ENVIRONMENT, str(tmp_path))
    assert data.load("mnist").name == "mnist"  # where the variable says


def test_without_mnist_both_ways_to_it_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.ENVIRONMENT, raising=False)
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path)
    command = re.escape(backprop_command("data fetch"))
    with pytest.raises(UserError, match=f"download it with: {command}; .* in BACKPROP_MNIST$"):
        data.load("mnist")


def test_missing_folder_and_file(tmp_path: Path, content: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match=r"nowhere: expected a folder .* found none; .*backprop data fetch"):
        data.load(tmp_path / "nowhere")
    write(tmp_path, content)
    (tmp_path / f"{LABELS}.gz").unlink()
    with pytest.raises(UserError, match=rf"expected {LABELS}\.gz or {LABELS}, found neither; .*backprop data fetch"):
        data.load(tmp_path)


@given(array=arrays(np.uint8, array_shapes(max_dims=4, min_side=0)))
def test_idx_round_trip(array: Array, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    path.write_bytes(idx(array))
    read, sha256 = mnist.read_idx(path, len(idx(array)))
    np.testing.assert_array_equal(read, array)
    assert sha256 == hashlib.sha256(idx(array)).hexdigest()


@given(noise=st.binary(max_size=64), compressed=st.booleans())
def test_noise_is_never_more_than_a_user_error(
    noise: bytes, compressed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / ("noise.gz" if compressed else "noise")
    path.write_bytes(noise if not compressed else b"\x1f\x8b\x08" + noise)
    message = None
    try:
        mnist.read_idx(path, 64)
    except UserError as error:
        message = str(error)
    assert message is None or message.startswith(f"{path}: expected ")


GOOD = idx(np.zeros((12, 28, 28)))
SHORT = idx(np.zeros((11, 28, 28)))
BAD_FILES = {
    "truncated gzip": (gzip.compress(GOOD)[:-9], "expected a whole gzip file, found one truncated after"),
    "empty": (b"", "expected the magic number .*, found nothing"),
    "not gzip": (GOOD, "expected a gzip file, found something else or damage"),
    "damaged gzip": (gzip.compress(GOOD)[:-8] + bytes(8), "expected a gzip file, found something else or damage"),
    "wrong magic": (
        gzip.compress(b"\x89PNG" + GOOD[4:]),
        r"expected the magic number .* 00 00 08 \.\., found 89 50 4e 47",
    ),
    "wrong type": (gzip.compress(b"\x00\x00\x0d\x03" + GOOD[4:]), r"magic number .*, found 00 00 0d 03"),
    "no content": (gzip.compress(b""), "expected the magic number .*, found nothing"),
    "truncated header": (gzip.compress(GOOD[:10]), "expected a header of 16 bytes, found 10 bytes: truncated"),
    "truncated": (gzip.compress(GOOD[:-1]), r"expected 9,408 bytes for shape \(12, 28, 28\), found 9,407: truncated"),
    "left over": (gzip.compress(SHORT + b"\n"), r"expected 8,624 bytes for shape .*, found 8,625: bytes left over"),
    "too long": (gzip.compress(GOOD + b"\n"), "expected at most 9,424 bytes of content, found more: not MNIST"),
    "wrong size": (
        gzip.compress(idx(np.zeros((12, 28, 27)))),
        r"expected shape \(images, 28, 28\), found \(12, 28, 27\)",
    ),
    "wrong dimensions": (gzip.compress(idx(np.zeros(12))), r"expected shape \(images, 28, 28\), found \(12,\)"),
    "altered": (gzip.compress(GOOD), "expected content with SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}: altered"),
}


@pytest.mark.parametrize(("bad", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_images(bad: bytes, told: str, tmp_path: Path, content: dict[str, bytes]) -> None:
    path = write(tmp_path, content) / f"{IMAGES}.gz"
    path.write_bytes(bad)
    with pytest.raises(UserError, match=told) as caught:
        data.load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert message.endswith(f"; download it with: {backprop_command(f'data fetch --to {tmp_path}')}")
    assert "\n" not in message


@pytest.mark.parametrize("start", [b"", GOOD[:4] + struct.pack(">3I", 1 << 24, 28, 28)], ids=["zeros", "header"])
@pytest.mark.parametrize("suffix", ["", ".gz"], ids=["plain", "gzip"])
def test_a_bomb_is_not_unpacked(suffix: str, start: bytes, tmp_path: Path, content: dict[str, bytes]) -> None:
    (write(tmp_path, content) / f"{IMAGES}.gz").unlink()
    path = tmp_path / f"{IMAGES}{suffix}"
    if suffix:
        path.write_bytes(gzip.compress(start) + gzip.compress(bytes(1 << 20)) * 4096)  # 4 GiB in 4 MiB
    else:
        path.write_bytes(start)
        os.truncate(path, 1 << 32)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            data.load(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    told = "expected at most 9,424 bytes of content, found more: not MNIST"
    assert str(caught.value) == f"{path}: {told}; download it with: {backprop_command(f'data fetch --to {tmp_path}')}"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            [0, 1, 2, 3, 10, 5, 6, 7, 8, 9, 255, 1],
            "expected labels 0 to 9, found 2 out of range, the first one 10 at position 4",
        ),
        ([0, 1, 2, 3], r"expected shape \(12,\), a label for each image, found \(4,\)"),
        ([[0]] * 4, r"expected shape \(12,\), a label for each image, found \(4, 1\)"),
        ([0] * 12, "altered, or not MNIST"),
    ],
    ids=["out of range", "too few", "wrong dimensions", "altered"],
)
def test_bad_labels(labels: list[Any], told: str, tmp_path: Path, content: dict[str, bytes]) -> None:
    write(tmp_path, content | {LABELS: idx(np.array(labels))})
    with pytest.raises(UserError, match=rf"{LABELS}\.gz: .*{told}.*backprop data fetch"):
        data.load(tmp_path)


def test_one_hot() -> None:
    np.testing.assert_array_equal(dataset.one_hot(np.array([2, 0]), classes=3), [[0, 0, 1], [1, 0, 0]])
    assert dataset.one_hot(np.array([2]), dtype="float32").dtype == np.float32


@pytest.mark.parametrize("label", [-1, 10])
def test_one_hot_rejects_what_would_wrap_or_overflow(label: int) -> None:
    with pytest.raises(
        UserError, match=f"expected labels 0 to 9, found 1 out of range, the first one {label} at position 2"
    ):
        dataset.one_hot(np.array([0, 9, label]))


def test_one_hot_rejects_other_shapes_and_types() -> None:
    for labels in (np.zeros((2, 1), int), np.zeros(2)):
        with pytest.raises(UserError, match="labels: expected integers of shape"):
            dataset.one_hot(labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(bad: float) -> None:
    x = np.zeros((4, 784))
    x[2, 7] = x[3, 0] = bad
    told = f"x: expected finite numbers, found 2 that are not, the first one {bad} in row 2, column 7"
    with pytest.raises(UserError, match=told):
        dataset.check_examples(x, np.zeros((4, 10)))
    with pytest.raises(UserError, match=told):
        dataset.Dataset("mine", x, np.zeros(4, int), np.zeros((4, 784)), np.zeros(4, int))


def test_shapes_that_do_not_fit() -> None:
    for x in (np.zeros(784), np.zeros((0, 784)), np.zeros((2, 28, 28))):
        with pytest.raises(UserError, match=r"x: expected shape \(examples, units\), found"):
            dataset.check_examples(x, np.zeros((2, 10)))
    with pytest.raises(UserError, match="expected as many examples in both, found 3 and 2"):
        dataset.check_examples(np.zeros((3, 784)), np.zeros((2, 10)))
    labels = np.zeros(2, int)
    with pytest.raises(UserError, match=r"expected test images of 784 numbers .*, found 64"):
        dataset.Dataset("mine", np.zeros((2, 784)), labels, np.zeros((2, 64)), labels)


class Mirrors:
    """Mirrors of a small MNIST on a server of this machine, each with a fault of its own, by name."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.asked: list[str] = []  # mirror/file, in order
        self.closing = threading.Event()
        files = {f"{name}.gz": gzip.compress(file, mtime=0) for name, file in content.items()}
        self.registry = {name: hashlib.sha256(file).hexdigest() for name, file in files.items()}
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.asked.append(self.path.lstrip("/"))
                _, mirror, name = self.path.split("/")
                if mirror == "dripping":
                    self.drip(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                if mirror == "silent":
                    mirrors.closing.wait(30)
                if mirror in ("dripping", "silent", "missing"):
                    self.send_error(404)
                    return
                file = files[name]
                if mirror in ("altered", "raw", "bomb"):
                    plain = content[name.removesuffix(".gz")]
                    file = {"altered": gzip.compress(plain + b"!"), "raw": plain, "bomb": BOMB}[mirror]
                self.send_response(200)
                self.send_header("Content-Length", str(len(file)))
                self.end_headers()
                self.wfile.write(file[:100] if mirror == "truncated" else file)

            def drip(self, start: bytes) -> None:
                with contextlib.suppress(OSError):  # the other side has gone away
                    for byte in itertools.chain(start, itertools.repeat(0)):
                        self.wfile.write(bytes([byte]))
                        if mirrors.closing.wait(0.01):
                            return

            def log_message(self, *_: object) -> None:
                """Leave standard error alone."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def url(self, mirror: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{mirror}/"

    def fetch(self, folder: Path | None, *mirrors: str, console: Console | None = None, **seconds: float) -> Path:
        """Fetch from these mirrors, or from the good one."""
        urls = [self.url(mirror) for mirror in mirrors or ["good"]]
        return mnist.fetch(folder, urls, self.registry, console=console or quiet(), **seconds)

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


BOMB = gzip.compress(bytes(1 << 20)) * 1024  # 1 GiB in 1 MiB


@pytest.fixture
def mirrors(content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _: None))  # between two attempts
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mirrors = Mirrors(content)
    yield mirrors
    mirrors.close()


def quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_registry_knows_every_file() -> None:
    assert list(mnist.REGISTRY) == [f"{name}.gz" for name in mnist.CONTENT]


def test_every_mirror_is_asked_over_tls() -> None:
    assert mnist.MIRRORS
    assert all(mirror.startswith("https://") for mirror in mnist.MIRRORS)
    assert set(mnist.REGISTRY) == {f"{name}.gz" for name in mnist.CONTENT}


def test_fetch_downloads_what_load_reads(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(pooch.get_logger(), "handlers", [logging.StreamHandler(log)])
    console = quiet()
    folder = mirrors.fetch(tmp_path / "new" / "folder", console=console)
    assert folder == tmp_path / "new" / "folder"
    assert names(folder) == sorted(mirrors.registry)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    assert data.load(folder).x_train.shape == (12, 784)
    lines = printed(console).splitlines()
    assert lines == [f"downloading {mirrors.url('good')}{file}" for file in mirrors.registry]
    assert log.getvalue() == ""


def test_fetch_draws_a_bar_on_a_terminal(tmp_path: Path, mirrors: Mirrors) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    mirrors.fetch(tmp_path, console=console)
    assert "100%" in printed(console)
    assert "downloading" not in printed(console)


def test_fetch_goes_to_the_cache_by_default(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKPROP_MNIST", raising=False)  # which goes before the cache
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    assert mirrors.fetch(None) == tmp_path / "backprop-bench" / "mnist"
    assert data.load("mnist").name == "mnist"


def test_fetch_leaves_good_files_and_mends_bad_ones(
    tmp_path: Path, mirrors: Mirrors, content: dict[str, bytes]
) -> None:
    write(tmp_path, content)  # compressed otherwise than on the mirrors
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(content[IMAGES])[:50])
    (tmp_path / f"{TEST_IMAGES}.gz").write_bytes(BOMB)
    (tmp_path / f"{LABELS}.gz").unlink()
    (tmp_path / LABELS).write_bytes(content[LABELS])
    console = quiet()
    mirrors.fetch(tmp_path, console=console)
    assert mirrors.asked == [f"good/{IMAGES}.gz", f"good/{TEST_IMAGES}.gz"]
    assert f"{LABELS}: already there" in printed(console)
    assert f"{TEST_LABELS}: already there" in printed(console)
    data.load(tmp_path)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("missing", "HTTP status 404"),
        ("truncated", "no connection, or it broke off"),
        ("silent", "no answer in time"),
        ("altered", "does not match the known hash: expected {known} but got"),
        ("raw", "does not match the known hash: expected {known} but got"),
    ],
)
def test_fetch_goes_on_to_the_next_mirror(fault: str, told: str, tmp_path: Path, mirrors: Mirrors) -> None:
    console = quiet()
    mirrors.fetch(tmp_path, fault, "good", console=console, time_out_seconds=0.2)
    lines = [line for line in printed(console).splitlines() if line.startswith(f"{mirrors.url(fault)}{IMAGES}.gz: ")]
    assert len(lines) == 1
    assert told.format(known=mirrors.registry[f"{IMAGES}.gz"]) in lines[0]
    data.load(tmp_path)


def test_fetch_gives_up_a_mirror_that_drips(tmp_path: Path, mirrors: Mirrors, content: dict[str, bytes]) -> None:
    write(tmp_path, content)
    (tmp_path / f"{LABELS}.gz").unlink()
    console = quiet()
    start = time.perf_counter()
    mirrors.fetch(tmp_path, "dripping", "good", console=console, limit_seconds=1)
    assert time.perf_counter() - start < 6
    assert f"{mirrors.url('dripping')}{LABELS}.gz: not finished in time\n" in printed(console)
    assert names(tmp_path) == sorted(mirrors.registry)
    data.load(tmp_path)


def test_fetch_does_not_unpack_a_bomb(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[Path] = []
    monkeypatch.setattr(gzip, "open", unpacked.append)
    with pytest.raises(UserError, match="does not match the known hash"):
        mirrors.fetch(tmp_path, "bomb")
    assert unpacked == []
    assert names(tmp_path) == []


def test_fetch_without_a_working_mirror(tmp_path: Path, mirrors: Mirrors) -> None:
    faulty = [mirrors.url("missing"), mirrors.url("truncated"), mirrors.url("altered"), "http://127.0.0.1:9/"]
    with pytest.raises(UserError) as caught:
        mnist.fetch(tmp_path, faulty, mirrors.registry, console=quiet())
    message = str(caught.value)
    assert message.startswith(f"{IMAGES}.gz: no mirror has it (")
    assert all(mirror in message for mirror in faulty)
    assert "by hand" in message
    assert "--data" in message
    assert "\n" not in message
    assert mirrors.asked == [
        f"{mirror}/{IMAGES}.gz" for mirror in ("missing", "truncated", "altered") for _ in range(2)
    ]
    assert names(tmp_path) == []


def test_fetch_interrupted_leaves_no_half_file(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: object, _url: str, path: str, _pooch: object) -> None:
        Path(path).write_bytes(b"half")
        mirrors.closing.wait(0.5)  # until the main thread is asleep: a signal just before that does not wake it
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        mirrors.closing.wait(30)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        mirrors.fetch(tmp_path)
    assert time.perf_counter() - start < 10
    assert names(tmp_path) == []


def test_fetch_to_a_place_that_cannot_be_written(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/folder: cannot be written: .*; choose another folder"):
        mirrors.fetch(tmp_path / "file" / "folder")
    assert mirrors.asked == []
    (tmp_path / "folder" / f"{IMAGES}.gz").mkdir(parents=True)
    with pytest.raises(UserError, match=r"folder: cannot be written: Is a directory; choose another folder"):
        mirrors.fetch(tmp_path / "folder")
    assert names(tmp_path / "folder") == [f"{IMAGES}.gz"]


def test_fetch_to_a_full_disk(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: object, _url: str, path: str, _pooch: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device; choose another folder"):
        mirrors.fetch(tmp_path)
    assert names(tmp_path) == []
