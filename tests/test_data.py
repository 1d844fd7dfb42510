"""The data sets: what they hold, and what is said about files and downloads that are not as they should be."""

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
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rich.console import Console

from bench.problem import data, dataset, mnist, mnist_download
from impls.errors import UserError
from impls.interface import Array
from impls.needs import backprop_command

MNIST = os.environ.get(data.ENVIRONMENT)
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = mnist.FILES


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
    """Make the shapes and the SHA-256 of these files the known ones."""
    known = {
        name: mnist.Known(struct.unpack(f">{file[3]}I", file[4 : 4 + 4 * file[3]]), hashlib.sha256(file).hexdigest())
        for name, file in files.items()
    }
    monkeypatch.setattr(mnist, "FILES", known)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files, compressed, and return their folder."""
    folder.mkdir(exist_ok=True)
    for name, file in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(file))
    return folder


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Write files, as they are, by their paths in a folder."""
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file)


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


OTHER = {  # the files of another data set: the names and the form of the small MNIST
    IMAGES: idx(np.zeros((12, 28, 28))),
    LABELS: idx(np.zeros(12)),
    TEST_IMAGES: idx(np.zeros((5, 28, 28))),
    TEST_LABELS: idx(np.zeros(5)),
}


def unpacked(content: dict[str, bytes]) -> dict[str, bytes]:
    return dict(content)


def packed(content: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(file) for name, file in content.items()}


LAYOUTS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {  # path in the folder: content
    "unpacked": unpacked,
    "packed": packed,
    "one unpacked": lambda content: packed(content) | {f"{IMAGES}.gz": b"", IMAGES: content[IMAGES]},
    "unpacked, but still called .gz": lambda content: {f"{name}.gz": file for name, file in content.items()},
    "packed without .gz": lambda content: {name: gzip.compress(file) for name, file in content.items()},
    "packed by bgzip, in blocks": lambda content: {
        name: gzip.compress(file[:20]) + gzip.compress(file[20:]) + gzip.compress(b"") for name, file in content.items()
    },
    "any names": lambda content: {f"{number}.dat": file for number, file in enumerate(content.values())},
    "names exchanged": lambda content: dict(zip(reversed(content), content.values(), strict=True)),
    "torchvision": lambda content: (
        {f"MNIST/raw/{name}": file for name, file in (unpacked(content) | packed(content)).items()}
        | {f"FashionMNIST/raw/{name}": other for name, other in OTHER.items()}
    ),
    "Kaggle": lambda content: {name.replace("-idx", ".idx"): file for name, file in content.items()},
    "Kaggle's folders": lambda content: {f"archive/{name}/{name}": file for name, file in content.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_mnist_is_known_by_its_content(
    layout: Callable[[dict[str, bytes]], dict[str, bytes]], tmp_path: Path, content: dict[str, bytes]
) -> None:
    put(tmp_path, layout(content))
    dataset = data.load(tmp_path)
    pixels = np.frombuffer(content[IMAGES], np.uint8, offset=16).reshape(12, 784)
    np.testing.assert_array_equal(dataset.x_train, pixels / 256)
    np.testing.assert_array_equal(dataset.labels_train, list(content[LABELS][8:]))
    pixels = np.frombuffer(content[TEST_IMAGES], np.uint8, offset=16).reshape(5, 784)
    np.testing.assert_array_equal(dataset.x_test, pixels / 256)
    np.testing.assert_array_equal(dataset.labels_test, list(content[TEST_LABELS][8:]))


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
    with pytest.raises(UserError, match=f"; download MNIST with: {command}; or .* in BACKPROP_MNIST$"):
        data.load("mnist")


def fetch_to(folder: Path) -> str:
    return f"download MNIST with: {backprop_command(f'data fetch --to {folder}')}"


def fetch_to_the_cache() -> str:
    return f"download MNIST with: {backprop_command('data fetch')}; then use --data={mnist.cache_folder()}"


def refusal(folder: Path) -> str:
    """Return what is said, in one line, about a folder that does not hold MNIST."""
    with pytest.raises(UserError) as caught:
        data.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_folder_and_files(tmp_path: Path, content: dict[str, bytes]) -> None:
    nowhere = tmp_path / "nowhere"
    expected = "expected a folder with the four files of MNIST"
    assert refusal(nowhere) == f"{nowhere}: {expected}, found nothing there; {fetch_to(nowhere)}"
    write(tmp_path, content)
    (tmp_path / f"{LABELS}.gz").unlink()
    assert refusal(tmp_path) == (
        f"{tmp_path}: expected the four files of MNIST, under any names; missing: {LABELS}; other files: none; "
        f"{fetch_to(tmp_path)}"
    )


GOOD = OTHER[IMAGES]
TRAIN_IMAGES = "an IDX file of 12 images of 28 x 28"
OTHER_FILES = {  # name: content, what is said of it
    "altered": (gzip.compress(GOOD), f"{TRAIN_IMAGES}, as in MNIST but altered, or of another data set"),
    "FashionMNIST/raw/images": (GOOD, f"{TRAIN_IMAGES}, as in MNIST but of Fashion-MNIST by its path"),
    "kmnist/images.gz": (gzip.compress(GOOD), f"{TRAIN_IMAGES}, as in MNIST but of KMNIST by its path"),
    "emnist-letters": (idx(np.zeros((20, 28, 28))), "an IDX file of 20 images of 28 x 28 (EMNIST by its path)"),
    "QMNIST/labels": (b"\0\0\x0c\2" + bytes(8), "an IDX file of 2 dimensions (QMNIST by its path)"),
    "labels": (idx(np.zeros(20)), "an IDX file of 20 labels"),
    "truncated": (GOOD[:-1], f"{TRAIN_IMAGES}, truncated"),
    "too long": (GOOD + b"\n", f"{TRAIN_IMAGES}, too long (9,425 bytes)"),
    "too long.gz": (gzip.compress(GOOD + b"\n"), f"{TRAIN_IMAGES}, too long"),
    "truncated header": (GOOD[:10], "an IDX file with a truncated header"),
    "truncated.gz": (gzip.compress(np.random.default_rng(0).bytes(100))[:50], "a truncated gzip file"),
    "truncated at its end.gz": (gzip.compress(GOOD)[:-1], "a truncated gzip file"),
    "damaged.gz": (gzip.compress(GOOD)[:-8] + bytes(8), "a damaged gzip file"),
    "damaged at its start.gz": (b"\x1f\x8b\x08" + b"\xff" * 40, "a damaged gzip file"),
    "mnist.pkl.gz": (gzip.compress(b"((cnumpy.core.multiarray\n_reconstruct\n"), "a pickle, which is never loaded"),
    "mnist": (b"\x80\x04\x95", "a pickle, which is never loaded"),
    "mnist_train.csv": (b"label,1x1\n5,0\n", "a CSV file"),
    "mnist.txt": (b"5" + b",0" * 784, "a CSV file"),
    "mnist.npz": (b"PK\3\4" + bytes(26) + b"x_test.npy", "a NumPy archive (npz)"),
    "archive.zip": (b"PK\3\4" + bytes(26) + b"t10k-images", "a zip archive: unpack it if MNIST is in it"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_what_was_found_instead_of_mnist(name: str, tmp_path: Path, content: dict[str, bytes]) -> None:
    file, description = OTHER_FILES[name]
    put(tmp_path, {name: file, "README.md": b"Some files.\n", "data": b""})
    assert refusal(tmp_path) == (
        f"{tmp_path}: expected the four files of MNIST, under any names; missing: all; "
        f"other files: {name}, {description} (and 2 more); {fetch_to_the_cache()}"
    )
    put(tmp_path, packed(content))
    data.load(tmp_path)  # whatever else is there


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_where_a_folder_is_expected(name: str, tmp_path: Path, content: dict[str, bytes]) -> None:
    file, description = OTHER_FILES[name]
    put(tmp_path, {name: file})
    assert refusal(tmp_path / name) == (
        f"{tmp_path / name}: expected a folder with the four files of MNIST, found {description}; "
        f"{fetch_to_the_cache()}"
    )


def test_a_file_of_mnist_where_its_folder_is_expected(tmp_path: Path, content: dict[str, bytes]) -> None:
    put(tmp_path, content)
    assert refusal(tmp_path / IMAGES).endswith(f"found one of the files; name its folder: {tmp_path}")


def test_files_of_no_form_of_mnist(tmp_path: Path, content: dict[str, bytes]) -> None:
    put(tmp_path, {"README.md": b"Some files.\n", "empty": b"", "lines": b'{"x": [' + b"1," * 99})
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to("nowhere")
    message = refusal(tmp_path)
    assert f"; other files: 5 of another kind; {fetch_to_the_cache()}" in message


def test_a_large_folder_is_searched_in_part_and_this_is_said(
    tmp_path: Path, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MAX_ENTRIES", 20)
    put(tmp_path, {f"{number}.txt": b"text" for number in range(20)} | {f"inner/{name}": b"" for name in content})
    examined: list[Path] = []
    examine = mnist.examine

    def counted(path: Path) -> mnist.MnistFile | mnist.OtherFile:
        examined.append(path)
        return examine(path)

    monkeypatch.setattr(mnist, "examine", counted)
    assert (
        "; the search ended after 20 files and folders: name the folder that holds the files, or "
        f"{fetch_to_the_cache()}"
    ) in refusal(tmp_path)
    assert len(examined) == 20
    put(tmp_path, content)  # whose usual names are looked at first
    data.load(tmp_path)


def test_deep_folders_are_not_searched_and_this_is_said(tmp_path: Path, content: dict[str, bytes]) -> None:
    put(tmp_path, {f"1/2/3/4/{name}": file for name, file in content.items()})
    (tmp_path / "1" / "loop").symlink_to(tmp_path)
    data.load(tmp_path)
    (tmp_path / "1").rename(tmp_path / "0")
    put(tmp_path, {"1/a": b""})
    (tmp_path / "0").rename(tmp_path / "1" / "0")
    assert (
        f"; the search ended 4 folders below this one: name the folder that holds the files, or {fetch_to_the_cache()}"
    ) in refusal(tmp_path)


def test_what_cannot_be_read(tmp_path: Path, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {IMAGES: content[IMAGES]})

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", denied)
    assert f"other files: {IMAGES}, a file that cannot be read (Permission denied)" in refusal(tmp_path)
    (tmp_path / IMAGES).unlink()
    (tmp_path / "inner").mkdir()
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: denied() if path.name == "inner" else scandir(path))
    assert "other files: inner, a folder that cannot be read (Permission denied)" in refusal(tmp_path)
    message = refusal(tmp_path / "inner")
    assert message == f"{tmp_path / 'inner'}: cannot be read: Permission denied; {fetch_to_the_cache()}"


@given(array=arrays(np.uint8, array_shapes(max_dims=4, min_side=0)), compressed=st.booleans())
def test_any_array_known_by_its_sha256_is_read(
    array: Array, compressed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    with pytest.MonkeyPatch.context() as monkeypatch:
        know({"known": idx(array)}, monkeypatch)
        file = mnist.examine(path)
    assert isinstance(file, mnist.MnistFile)
    np.testing.assert_array_equal(file.array, array)


@given(noise=st.binary(max_size=64), start=st.sampled_from([b"", b"\x1f\x8b\x08", b"\0\0\x08"]))
def test_noise_is_described_in_a_line(noise: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(start + noise)
    file = mnist.examine(path)
    assert isinstance(file, mnist.OtherFile)
    assert "\n" not in file.description


@pytest.mark.parametrize("start", [b"", GOOD[:16]], ids=["zeros", "header"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_a_bomb_is_not_unpacked(compressed: bool, start: bytes, tmp_path: Path, content: dict[str, bytes]) -> None:
    path = tmp_path / IMAGES
    if compressed:
        path.write_bytes(gzip.compress(start + bytes(9 << 20)))  # 9 MiB in 9 KiB, as many as are plausible
    else:
        path.write_bytes(start)
        os.truncate(path, 1 << 32)
    tracemalloc.start()
    try:
        message = refusal(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert (f"{TRAIN_IMAGES}, too long" if start else "1 of another kind") in message


def test_a_gzip_file_too_large_for_its_content_is_not_read(tmp_path: Path, content: dict[str, bytes]) -> None:
    (tmp_path / IMAGES).write_bytes(gzip.compress(content[IMAGES]) + gzip.compress(b"") * 1000)
    assert f"{TRAIN_IMAGES}, too long (" in refusal(tmp_path)


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
                with suppress(OSError):  # the other side has gone away
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
        return mnist_download.fetch(folder, urls, self.registry, console=console or quiet(), **seconds)

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
    assert list(mnist_download.REGISTRY) == [f"{name}.gz" for name in mnist.FILES]


def test_every_mirror_is_asked_over_tls() -> None:
    assert mnist_download.MIRRORS
    assert all(mirror.startswith("https://") for mirror in mnist_download.MIRRORS)
    assert set(mnist_download.REGISTRY) == {f"{name}.gz" for name in mnist.FILES}


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


def test_fetch_downloads_only_what_is_missing(tmp_path: Path, mirrors: Mirrors, content: dict[str, bytes]) -> None:
    put(tmp_path, {"any name": content[TEST_LABELS], f"MNIST/raw/{LABELS}": content[LABELS]})
    console = quiet()
    mirrors.fetch(tmp_path, console=console)
    assert mirrors.asked == [f"good/{IMAGES}.gz", f"good/{TEST_IMAGES}.gz"]
    assert f"{LABELS}: already there, {tmp_path}/MNIST/raw/{LABELS}\n" in printed(console)
    assert f"{TEST_LABELS}: already there, {tmp_path}/any name\n" in printed(console)
    data.load(tmp_path)


NOT_REPLACED = {
    "another data set": (f"{TEST_IMAGES}.gz", GOOD, f"{TRAIN_IMAGES}, as in MNIST but altered"),
    "another data set, unpacked": (TEST_IMAGES, GOOD, f"{TRAIN_IMAGES}, as in MNIST but altered"),
    "damaged": (f"{TEST_IMAGES}.gz", gzip.compress(GOOD)[:50], "a truncated gzip file"),
    "a bomb": (f"{TEST_IMAGES}.gz", gzip.compress(bytes(1 << 24)), "another kind of file"),
    "something else": (f"{TEST_IMAGES}.gz", b"mine", "another kind of file"),
}


@pytest.mark.parametrize(("name", "file", "description"), NOT_REPLACED.values(), ids=NOT_REPLACED)
def test_fetch_replaces_nothing(name: str, file: bytes, description: str, tmp_path: Path, mirrors: Mirrors) -> None:
    put(tmp_path, {name: file})
    told = re.escape(f"{tmp_path / name}: expected nothing there or MNIST's file of that name, found {description}")
    with pytest.raises(UserError, match=f"^{told}.*, which is not replaced; choose another folder with --to, or "):
        mirrors.fetch(tmp_path)
    assert mirrors.asked == []
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == file


def test_fetch_does_not_write_through_a_link(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / f"{IMAGES}.gz").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="found neither a file nor a folder, which is not replaced"):
        mirrors.fetch(tmp_path)
    assert names(tmp_path) == [f"{IMAGES}.gz"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("same", [True, False], ids=["same file", "other file"])
def test_fetch_replaces_nothing_that_came_while_it_downloaded(
    same: bool,
    links: bool,
    tmp_path: Path,
    mirrors: Mirrors,
    content: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / f"{IMAGES}.gz"
    file = gzip.compress(content[IMAGES], 1) if same else b"mine"
    download = pooch.HTTPDownloader.__call__

    def slow(self: object, url: str, *rest: object) -> None:
        download(self, url, *rest)
        if url.endswith(path.name):
            path.write_bytes(file)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", slow)
    if not links:
        monkeypatch.setattr(os, "link", no_hard_links)
    with nullcontext() if same else pytest.raises(UserError, match=f"{path}: .* found another kind of file, which is"):
        mirrors.fetch(tmp_path)
        data.load(tmp_path)
    assert path.read_bytes() == file
    assert names(tmp_path) == (sorted(mirrors.registry) if same else [path.name])


def no_hard_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_fetch_to_a_file_system_without_hard_links(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_hard_links)
    mirrors.fetch(tmp_path)
    assert names(tmp_path) == sorted(mirrors.registry)
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
        mnist_download.fetch(tmp_path, faulty, mirrors.registry, console=quiet())
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


def test_fetch_to_a_full_disk(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: object, _url: str, path: str, _pooch: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device; choose another folder"):
        mirrors.fetch(tmp_path)
    assert names(tmp_path) == []
