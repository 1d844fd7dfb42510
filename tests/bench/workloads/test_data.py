"""The data sets: what they hold, and what is said about files and downloads that are not as they should be."""

import errno
import gzip
import hashlib
import os
import re
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest

from bench.workloads import data, mnist
from impls.interface import Array
from impls.support.errors import UserError
from impls.support.needs import backprop_command

MNIST = os.environ.get(data.ENVIRONMENT)
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = mnist.FILES
Files = dict[str, bytes]


def idx(array: Array) -> bytes:
    """Return the IDX file of an array of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Return the four files of a small MNIST, 12 and 5 images, which are the known ones for this test."""
    rng = np.random.default_rng(0)
    files = {
        IMAGES: idx(rng.integers(256, size=(12, 28, 28))),
        LABELS: idx(rng.integers(10, size=12)),
        TEST_IMAGES: idx(rng.integers(256, size=(5, 28, 28))),
        TEST_LABELS: idx(rng.integers(10, size=5)),
    }
    monkeypatch.setattr(mnist, "FILES", {name: hashlib.sha256(file).hexdigest() for name, file in files.items()})
    return files


def put(folder: Path, files: Files) -> None:
    """Write files by their paths in a folder."""
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file)


def packed(content: Files) -> Files:
    return {f"{name}.gz": gzip.compress(file, mtime=0) for name, file in content.items()}


def test_digits_are_the_default_and_fill_the_books_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    monkeypatch.delenv(data.ENVIRONMENT, raising=False)
    digits = data.load()
    assert digits.name == "digits"
    assert (digits.x_train.shape, digits.labels_train.shape) == ((1500, 784), (1500,))
    assert (digits.x_test.shape, digits.labels_test.shape) == ((297, 784), (297,))
    expected = np.pad(np.kron(load_digits().images[0] / 16, np.ones((3, 3))), 2)
    np.testing.assert_array_equal(digits.x_train[0].reshape(28, 28), expected)


@pytest.mark.skipif(not MNIST, reason=f"{data.ENVIRONMENT} does not name a folder with MNIST")
def test_real_mnist() -> None:
    dataset = data.load()
    assert (dataset.x_train.shape, dataset.x_test.shape) == ((50_000, 784), (10_000, 784))
    assert (dataset.x_train.min(), dataset.x_train.max()) == (0, 255 / 256)
    assert dataset.labels_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.labels_test[:5].tolist() == [7, 2, 1, 0, 4]
    # These are the first pixels with ink, as they are in the book's mnist.pkl.gz.
    assert dataset.x_train[0, 152:156].tolist() == [0.01171875, 0.0703125, 0.0703125, 0.0703125]


def test_one_hot() -> None:
    outputs = data.one_hot(np.array([2, 0]), "float32")
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, np.eye(10)[[2, 0]])


# --- MNIST in a folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["packed", "packed without .gz", "in blocks", "names exchanged", "nested"])
def test_mnist_is_known_by_its_content(layout: str, tmp_path: Path, content: Files) -> None:
    layouts = {
        "packed": packed(content),
        "packed without .gz": dict(zip(content, packed(content).values(), strict=True)),
        "in blocks": {name: gzip.compress(file[:20]) + gzip.compress(file[20:]) for name, file in content.items()},
        "names exchanged": dict(zip(reversed(content), content.values(), strict=True)),
        "nested": {f"MNIST/raw/{name}": file for name, file in content.items()} | {f"Other/{IMAGES}": b"\0\0\x08\3"},
    }
    put(tmp_path, layouts[layout])
    dataset = data.load(tmp_path)
    for images, x in ((IMAGES, dataset.x_train), (TEST_IMAGES, dataset.x_test)):
        assert x.shape[1:] == (784,)
        np.testing.assert_array_equal(x.ravel(), np.frombuffer(content[images][16:], np.uint8) / 256)
    np.testing.assert_array_equal(dataset.labels_train, list(content[LABELS][8:]))
    np.testing.assert_array_equal(dataset.labels_test, list(content[TEST_LABELS][8:]))


def test_sources_of_mnist(tmp_path: Path, content: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, content)
    monkeypatch.setattr(data, "MNIST_TO_TRAIN", 10)
    assert [len(x) for x in (data.load(tmp_path).x_train, data.load(tmp_path).x_test)] == [10, 5]
    monkeypatch.setenv(data.ENVIRONMENT, str(tmp_path))
    assert [data.load(source).name for source in (None, "mnist", "digits")] == ["mnist", "mnist", "digits"]
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path)
    monkeypatch.delenv(data.ENVIRONMENT)
    assert [data.load(source).name for source in (None, "mnist")] == ["digits", "mnist"]


def refusal(folder: Path) -> str:
    """Return what is said, in one line, about a folder that does not hold MNIST."""
    with pytest.raises(UserError) as caught:
        data.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_mnist_it_says_what_is_missing_and_how_to_get_it(tmp_path: Path, content: Files) -> None:
    download = f"download MNIST with: {backprop_command(f'data fetch --to {tmp_path}')}; or name a folder that has it"
    assert refusal(tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere: expected a folder with the four files of ")
    assert "; found no folder of that name; " in refusal(tmp_path / "nowhere")
    put(tmp_path, {name: file for name, file in content.items() if name != LABELS})
    assert f"; missing: {LABELS}; no other files; {download}" in refusal(tmp_path)


def test_without_a_folder_mnist_is_in_the_cache(
    tmp_path: Path, mirrors: "Mirrors", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(data.ENVIRONMENT, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    with pytest.raises(UserError, match=f"{re.escape(backprop_command('data fetch'))}; or .* in BACKPROP_MNIST$"):
        data.load("mnist")
    assert mirrors.fetch(None) == tmp_path / "backprop-bench" / "mnist"
    assert data.load("mnist").name == "mnist"


OTHER = idx(np.zeros((12, 28, 28)))
OTHER_FILES = {
    "another data set": OTHER,
    "truncated": gzip.compress(np.random.default_rng(0).bytes(100))[:50],
    "damaged at its end": gzip.compress(OTHER)[:-8] + bytes(8),
    "damaged at its start": b"\x1f\x8b\x08" + b"\xff" * 40,
    "pickle": b"\x80\x04\x95",
}


@pytest.mark.parametrize("file", OTHER_FILES.values(), ids=OTHER_FILES)
def test_what_is_not_mnist_is_counted_and_does_no_harm(file: bytes, tmp_path: Path, content: Files) -> None:
    put(tmp_path, {"a": b"text", "inner/some-ubyte": file})
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert f"missing: {', '.join(content)}; other files: 4, such as inner/some-ubyte, " in refusal(tmp_path)
    elsewhere = f"download MNIST with: {backprop_command('data fetch')}, then --data=mnist; or"  # nothing is replaced
    assert elsewhere in refusal(tmp_path)
    put(tmp_path, packed(content))
    data.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("FashionMNIST/raw/train-images-idx3-ubyte", OTHER, "of Fashion-MNIST by its path"),
        ("emnist-digits-ubyte", OTHER, "of EMNIST by its path"),
        ("some-ubyte", OTHER, "damaged or of another data set"),
        ("mnist.pkl.gz", b"", "a pickle, which is never loaded"),
        ("data", b"\x80\x04\x95", "a pickle, which is never loaded"),
        ("mnist.npz", b"PK\x03\x04", "a zip or npz archive"),
        ("mnist_train.csv", b"5,0,0", "a CSV file"),
    ],
)
def test_what_is_there_instead_is_named(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    put(tmp_path / "images", {name: content})
    assert f"other files: 1, such as {name}, {words}; " in refusal(tmp_path / "images")


def test_a_large_folder_is_searched_in_part_and_no_bomb_is_unpacked(
    tmp_path: Path, content: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MAX_FILES", 20)
    put(
        tmp_path, {f"{number}.txt": b"text" for number in range(30)} | {"0": gzip.compress(OTHER[:16] + bytes(1 << 28))}
    )
    tracemalloc.start()
    assert "other files: 20, such as 0" in refusal(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 27
    tracemalloc.stop()


# --- The download ------------------------------------------------------------------------------------------------


class Mirrors:
    """Mirrors of a small MNIST on a server of this machine, each with a fault of its own, by name."""

    def __init__(self, files: Files) -> None:
        self.requests: list[str] = []  # mirror/file, in order
        self.closing = threading.Event()
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.requests.append(self.path.lstrip("/"))
                _, mirror, name = self.path.split("/")
                if mirror == "silent":
                    mirrors.closing.wait(30)
                if mirror in ("silent", "missing"):
                    self.send_error(404)
                    return
                file = files[name] + b"!" * (mirror == "altered")
                self.send_response(200)
                self.send_header("Content-Length", str(len(file)))
                self.end_headers()
                self.wfile.write(file[:100] if mirror == "truncated" else file)

            def log_message(self, *_: object) -> None:
                """Leave standard error alone."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def url(self, mirror: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{mirror}/"

    def fetch(self, folder: Path | None, *mirrors: str) -> Path:
        """Fetch from these mirrors, or from the good one."""
        return mnist.fetch(folder, [self.url(mirror) for mirror in mirrors or ["good"]])

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirrors(content: Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _: None))  # between two attempts
    monkeypatch.setattr(mnist, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = packed(content)
    monkeypatch.setattr(mnist, "REGISTRY", {name: hashlib.sha256(file).hexdigest() for name, file in files.items()})
    mirrors = Mirrors(files)
    yield mirrors
    mirrors.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_file_is_asked_for_over_tls() -> None:
    assert all(mirror.startswith("https://") for mirror in mnist.MIRRORS)


def test_fetch_downloads_what_load_reads(tmp_path: Path, mirrors: Mirrors) -> None:
    folder = mirrors.fetch(tmp_path / "new" / "folder")
    assert names(folder) == sorted(mnist.REGISTRY)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    assert data.load(folder).x_train.shape == (12, 784)


def test_fetch_downloads_only_what_is_missing(tmp_path: Path, mirrors: Mirrors, content: Files) -> None:
    put(tmp_path, {"any name": content[TEST_LABELS], f"MNIST/raw/{LABELS}": content[LABELS]})
    mirrors.fetch(tmp_path)
    assert mirrors.requests == [f"good/{IMAGES}.gz", f"good/{TEST_IMAGES}.gz"]
    data.load(tmp_path)


@pytest.mark.parametrize("is_link", [False, True])
def test_fetch_replaces_nothing(is_link: bool, tmp_path: Path, mirrors: Mirrors) -> None:
    path = tmp_path / f"{TEST_IMAGES}.gz"
    if is_link:
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(gzip.compress(OTHER))
    with pytest.raises(UserError, match=f"^{path}: expected nothing there or MNIST's file .*, which is not replaced; "):
        mirrors.fetch(tmp_path)
    assert mirrors.requests == []
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("fault", ["missing", "truncated", "silent", "altered"])
def test_fetch_goes_on_to_the_next_mirror(fault: str, tmp_path: Path, mirrors: Mirrors) -> None:
    mirrors.fetch(tmp_path, fault, "good")
    assert mirrors.requests[:3] == [f"{fault}/{IMAGES}.gz"] * 2 + [f"good/{IMAGES}.gz"]
    data.load(tmp_path)


def test_fetch_without_a_working_mirror(tmp_path: Path, mirrors: Mirrors) -> None:
    with pytest.raises(UserError, match=rf"^{IMAGES}\.gz: no mirror has it \(.*by hand .* --data$") as caught:
        mirrors.fetch(tmp_path, "missing", "altered")
    message = str(caught.value)
    assert "404 Client Error" in message
    assert f"does not match the known hash: expected {mnist.REGISTRY[f'{IMAGES}.gz']}" in message
    assert names(tmp_path) == []


def test_fetch_leaves_no_half_file(tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: object, _url: str, path: str, _pooch: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fail)
    with pytest.raises(UserError, match=r"cannot be written: No space left on device; choose"):
        mirrors.fetch(tmp_path)
    assert names(tmp_path) == []
