"""The data sets: what they hold, and what is said about files and downloads that are not as they should be."""

import gzip
import hashlib
import io
import os
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pooch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rich.console import Console

from bench import data
from bench.errors import UserError
from impls.interface import Array

MNIST = os.environ.get(data.ENVIRONMENT)
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = data.SHA256


def idx(array: Array) -> bytes:
    """Return the IDX file of an array of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the four files of a small MNIST, 12 and 5 images, whose SHA-256 are the known ones for this test."""
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
    """Make the SHA-256 of these files the known ones."""
    monkeypatch.setattr(data, "SHA256", {name: hashlib.sha256(file).hexdigest() for name, file in files.items()})


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
    mnist = data.load()
    assert mnist.name == "mnist"
    assert (mnist.x_train.shape, mnist.x_test.shape) == ((50_000, 784), (10_000, 784))
    assert (mnist.x_train.min(), mnist.x_train.max()) == (0, 255 / 256)
    assert mnist.labels_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.labels_test[:5].tolist() == [7, 2, 1, 0, 4]
    # the first pixels with ink, as they are in the book's mnist.pkl.gz
    assert mnist.x_train[0, 152:156].tolist() == [0.01171875, 0.0703125, 0.0703125, 0.0703125]


def test_mnist_from_a_folder_compressed_or_not(tmp_path: Path, content: dict[str, bytes]) -> None:
    write(tmp_path, content)
    (tmp_path / f"{IMAGES}.gz").unlink()
    (tmp_path / IMAGES).write_bytes(content[IMAGES])
    mnist = data.load(tmp_path)
    pixels = np.frombuffer(content[IMAGES], np.uint8, offset=16).reshape(12, 784)
    np.testing.assert_array_equal(mnist.x_train, pixels / 256)
    np.testing.assert_array_equal(mnist.labels_train, list(content[LABELS][8:]))
    assert mnist.x_test.shape == (5, 784)


def test_mnist_is_split_as_in_the_book(
    tmp_path: Path, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MNIST_TO_TRAIN", 10)
    mnist = data.load(write(tmp_path, content))
    assert (len(mnist.x_train), len(mnist.labels_train), len(mnist.x_test)) == (10, 10, 5)


def test_sources_of_mnist(tmp_path: Path, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, content)
    monkeypatch.setenv(data.ENVIRONMENT, str(tmp_path))
    assert data.load().name == "mnist"
    assert data.load("digits").name == "digits"
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path)
    monkeypatch.delenv(data.ENVIRONMENT)
    assert data.load("mnist").name == "mnist"
    assert data.load().name == "digits"


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
    read, sha256 = data.read_idx(path)
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
        data.read_idx(path)
    except UserError as error:
        message = str(error)
    assert message is None or message.startswith(f"{path}: expected ")


GOOD = idx(np.zeros((12, 28, 28)))
BAD_FILES = {
    "truncated gzip": (gzip.compress(GOOD)[:-9], "expected a whole gzip file, found one truncated after"),
    "empty": (b"", "expected the magic number .*, found nothing"),
    "not gzip": (GOOD, "expected a gzip file, found something else or damage"),
    "damaged gzip": (gzip.compress(GOOD)[:-8] + bytes(8), "expected a gzip file, found something else or damage"),
    "wrong magic": (gzip.compress(b"\x89PNG" + GOOD), r"expected the magic number .* 00 00 08 \.\., found 89 50 4e 47"),
    "wrong type": (gzip.compress(b"\x00\x00\x0d\x03" + GOOD[4:]), r"magic number .*, found 00 00 0d 03"),
    "no content": (gzip.compress(b""), "expected the magic number .*, found nothing"),
    "truncated header": (gzip.compress(GOOD[:10]), "expected a header of 16 bytes, found 10 bytes: truncated"),
    "truncated": (gzip.compress(GOOD[:-1]), r"expected 9,408 bytes for shape \(12, 28, 28\), found 9,407: truncated"),
    "left over": (gzip.compress(GOOD + b"\n"), "expected 9,408 bytes .*, found 9,409: bytes left over"),
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
    assert message.endswith(f"; download it with: backprop data fetch --to {tmp_path}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            [0, 1, 2, 3, 10, 5, 6, 7, 8, 9, 255, 1],
            "expected labels 0 to 9, found 2 out of range, the first one 10 at position 4",
        ),
        ([0, 1, 2, 3], r"expected shape \(12,\), a label for each image, found \(4,\)"),
        ([[0]] * 12, r"expected shape \(12,\), a label for each image, found \(12, 1\)"),
        ([0] * 12, "altered, or not MNIST"),
    ],
    ids=["out of range", "too few", "wrong dimensions", "altered"],
)
def test_bad_labels(labels: list[Any], told: str, tmp_path: Path, content: dict[str, bytes]) -> None:
    write(tmp_path, content | {LABELS: idx(np.array(labels))})
    with pytest.raises(UserError, match=rf"{LABELS}\.gz: .*{told}.*backprop data fetch"):
        data.load(tmp_path)


def test_one_hot() -> None:
    np.testing.assert_array_equal(data.one_hot(np.array([2, 0]), classes=3), [[0, 0, 1], [1, 0, 0]])
    assert data.one_hot(np.array([2]), dtype="float32").dtype == np.float32


@pytest.mark.parametrize("label", [-1, 10])
def test_one_hot_rejects_what_would_wrap_or_overflow(label: int) -> None:
    with pytest.raises(
        UserError, match=f"expected labels 0 to 9, found 1 out of range, the first one {label} at position 2"
    ):
        data.one_hot(np.array([0, 9, label]))


def test_one_hot_rejects_other_shapes_and_types() -> None:
    for labels in (np.zeros((2, 1), int), np.zeros(2)):
        with pytest.raises(UserError, match="labels: expected integers of shape"):
            data.one_hot(labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(bad: float) -> None:
    x = np.zeros((4, 784))
    x[2, 7] = x[3, 0] = bad
    told = f"x: expected finite numbers, found 2 that are not, the first one {bad} in row 2, column 7"
    with pytest.raises(UserError, match=told):
        data.check_examples(x, np.zeros((4, 10)))
    with pytest.raises(UserError, match=told):
        data.Dataset("mine", x, np.zeros(4, int), np.zeros((4, 784)), np.zeros(4, int))


def test_shapes_that_do_not_fit() -> None:
    for x in (np.zeros(784), np.zeros((0, 784)), np.zeros((2, 28, 28))):
        with pytest.raises(UserError, match=r"x: expected shape \(examples, units\), found"):
            data.check_examples(x, np.zeros((2, 10)))
    with pytest.raises(UserError, match="expected as many examples in both, found 3 and 2"):
        data.check_examples(np.zeros((3, 784)), np.zeros((2, 10)))
    labels = np.zeros(2, int)
    with pytest.raises(UserError, match=r"expected test images of 784 numbers .*, found 64"):
        data.Dataset("mine", np.zeros((2, 784)), labels, np.zeros((2, 64)), labels)


class Mirrors:
    """Mirrors of a small MNIST on a server of this machine, each with a fault of its own, by name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []  # mirror/file, in order
        self.closing = threading.Event()
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.asked.append(self.path.lstrip("/"))
                _, mirror, name = self.path.split("/")
                if mirror == "silent":
                    mirrors.closing.wait(30)
                if mirror in ("silent", "missing"):
                    self.send_error(404)
                    return
                file = files[name.removesuffix(".gz")]
                body = file if mirror == "raw" else gzip.compress(file + b"!" if mirror == "altered" else file)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:100] if mirror == "truncated" else body)

            def log_message(self, *_: object) -> None:
                """Leave standard error alone."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def url(self, mirror: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{mirror}/"

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirrors(content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setattr(data, "PAUSE_SECONDS", 0.01)
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


def test_fetch_downloads_what_load_reads(tmp_path: Path, mirrors: Mirrors) -> None:
    console = quiet()
    folder = data.fetch(tmp_path / "new" / "folder", [mirrors.url("good")], console=console)
    assert folder == tmp_path / "new" / "folder"
    assert names(folder) == sorted(f"{name}.gz" for name in data.SHA256)
    assert data.load(folder).x_train.shape == (12, 784)
    lines = printed(console).splitlines()
    assert lines == [f"downloading {mirrors.url('good')}{name}.gz" for name in data.SHA256]


def test_fetch_draws_a_bar_on_a_terminal(tmp_path: Path, mirrors: Mirrors) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    data.fetch(tmp_path, [mirrors.url("good")], console=console)
    assert "100%" in printed(console)
    assert "downloading" not in printed(console)


def test_fetch_goes_to_the_cache_by_default(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    assert data.fetch(mirrors=[mirrors.url("good")], console=quiet()) == tmp_path / "backprop-bench" / "mnist"
    assert data.load("mnist").name == "mnist"


def test_fetch_leaves_good_files_and_mends_bad_ones(
    tmp_path: Path, mirrors: Mirrors, content: dict[str, bytes]
) -> None:
    write(tmp_path, content)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(content[IMAGES])[:50])
    (tmp_path / f"{LABELS}.gz").unlink()
    (tmp_path / LABELS).write_bytes(content[LABELS])
    console = quiet()
    data.fetch(tmp_path, [mirrors.url("good")], console=console)
    assert mirrors.asked == [f"good/{IMAGES}.gz"]
    assert f"{LABELS}: already there" in printed(console)
    data.load(tmp_path)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("missing", "HTTP status 404"),
        ("truncated", "no connection, or it broke off"),
        ("silent", "no answer in time"),
        ("altered", "altered, or not MNIST"),
        ("raw", "expected a gzip file"),
    ],
)
def test_fetch_goes_on_to_the_next_mirror(fault: str, told: str, tmp_path: Path, mirrors: Mirrors) -> None:
    console = quiet()
    data.fetch(tmp_path, [mirrors.url(fault), mirrors.url("good")], time_out_seconds=0.2, console=console)
    assert f"{mirrors.url(fault)}{IMAGES}.gz: " in printed(console)
    assert told in printed(console)
    data.load(tmp_path)


def test_fetch_without_a_working_mirror(tmp_path: Path, mirrors: Mirrors) -> None:
    faulty = [mirrors.url("missing"), mirrors.url("truncated"), "http://127.0.0.1:9/"]
    with pytest.raises(UserError) as caught:
        data.fetch(tmp_path, faulty, console=quiet())
    message = str(caught.value)
    assert message.startswith(f"{IMAGES}.gz: no mirror has it (")
    assert all(mirror in message for mirror in faulty)
    assert "by hand" in message
    assert "--data" in message
    assert "\n" not in message
    assert mirrors.asked == [f"{mirror}/{IMAGES}.gz" for mirror in ("missing", "truncated")] * data.ROUNDS
    assert names(tmp_path) == []


def test_fetch_interrupted_leaves_no_half_file(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: object, _url: str, path: str, _pooch: None) -> NoReturn:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.fetch(tmp_path, [mirrors.url("good")], console=quiet())
    assert names(tmp_path) == []


def test_fetch_to_a_place_that_cannot_be_written(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/folder: cannot be written: .*; choose another folder"):
        data.fetch(tmp_path / "file" / "folder", [mirrors.url("good")], console=quiet())
    assert mirrors.asked == []
