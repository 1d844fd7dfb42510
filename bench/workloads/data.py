"""The data sets: real handwritten digits, without a download or, on request, the whole of MNIST.

Both are 28 x 28 grey images of the ten digits, as rows of 784 numbers from 0 (paper) to 1 (ink):

- *digits*, the default: scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin and Kaynak, 1998), enlarged.
- *MNIST* (LeCun, Cortes and Burges, 1998), split as in the book: the first 50,000 training images to train on, the
  10,000 test images to test on.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from impls.interface import Array

CLASSES = 10
PIXELS = 784  # of an image of 28 x 28
DIGITS_TO_TRAIN = 1_500  # of 1,797; the rest is for the test
MNIST_TO_TRAIN = 50_000  # of 60,000; the book keeps the rest for validation
ENVIRONMENT = "BACKPROP_MNIST"  # the variable that names a folder that holds MNIST


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples to train on and to test on."""

    name: str
    x_train: NDArray[np.float64]  # (N, n_0), 0 to 1
    labels_train: NDArray[np.intp]  # (N,), 0 to 9
    x_test: NDArray[np.float64]  # (M, n_0)
    labels_test: NDArray[np.intp]  # (M,)


def load(source: str | Path | None = None) -> Dataset:
    """Return the data set that `source` names.

    "digits"; "mnist", in the folder that the environment variable BACKPROP_MNIST names, or where it is not set in the
    user's cache, where `mnist.fetch` puts it; or a folder that holds the four files of MNIST, compressed or not, under
    any names, also in folders within. None: MNIST if BACKPROP_MNIST is set, else the digits.
    Raises UserError if MNIST is not there, or is not MNIST byte for byte.
    """
    source = source or os.environ.get(ENVIRONMENT) or "digits"
    return _load_digits() if source == "digits" else _load_mnist(source)


def one_hot(labels: NDArray[np.intp], dtype: DTypeLike = np.float64) -> Array:
    """Return the outputs that are wanted for `labels` (N,): an array (N, 10), 1 at the label and 0 elsewhere."""
    return np.eye(CLASSES, dtype=dtype)[labels]


def _load_digits() -> Dataset:
    """Return scikit-learn's digits: each pixel, 0 to 16, repeated 3 x 3, and a border of 2, to fill 28 x 28."""
    from sklearn.datasets import load_digits  # takes a second

    small, labels = load_digits(return_X_y=True)  # (1797, 64), (1797,)
    images = small.reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2) / 16  # (1797, 24, 24)
    x = np.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(-1, PIXELS)  # (1797, 784)
    train, test = slice(DIGITS_TO_TRAIN), slice(DIGITS_TO_TRAIN, None)
    return Dataset("digits", x[train], labels[train], x[test], labels[test])


def _load_mnist(source: str | Path) -> Dataset:
    from bench.workloads import mnist

    folder = (os.environ.get(ENVIRONMENT) or mnist.cache_folder()) if source == "mnist" else source
    images, labels, test_images, test_labels = mnist.read(Path(folder))
    return Dataset(
        "mnist",
        # 256, not 255: so are the numbers in the book's mnist.pkl.gz, and its results were made with them
        images[:MNIST_TO_TRAIN].reshape(-1, PIXELS) / 256,
        labels[:MNIST_TO_TRAIN].astype(np.intp),
        test_images.reshape(-1, PIXELS) / 256,
        test_labels.astype(np.intp),
    )
