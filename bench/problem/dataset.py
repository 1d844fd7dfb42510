"""A data set: images to train on and to test on, and their labels; and the checks that examples have to pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from impls.errors import UserError
from impls.interface import Array

CLASSES = 10
PIXELS = 28  # along each side of an image


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples to train on and to test on; checked when it is made.

    Raises UserError if shapes do not fit, a number is not finite or a label is not a digit.
    """

    name: str
    x_train: NDArray[np.float64]  # (N, n_0), 0 to 1
    labels_train: NDArray[np.intp]  # (N,), 0 to 9
    x_test: NDArray[np.float64]  # (M, n_0)
    labels_test: NDArray[np.intp]  # (M,)

    def __post_init__(self) -> None:
        for x, labels in ((self.x_train, self.labels_train), (self.x_test, self.labels_test)):
            check_examples(x, one_hot(labels))
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise UserError(
                f"{self.name}: expected test images of {self.x_train.shape[1]} numbers as those to train on, "
                f"found {self.x_test.shape[1]}"
            )


def one_hot(labels: Array, classes: int = CLASSES, dtype: DTypeLike = np.float64) -> Array:
    """Return the outputs that are wanted for `labels` (N,): an array (N, classes), 1 at the label and 0 elsewhere.

    Raises UserError, with the count and the first position, if labels are out of range.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels: expected integers of shape (examples,), found {labels.dtype} of shape {labels.shape}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise UserError(
            f"expected labels 0 to {classes - 1}, found {wrong.size} out of range, "
            f"the first one {labels[wrong[0]]} at position {wrong[0]}"
        )
    return np.eye(classes, dtype=dtype)[labels]


def check_examples(x: Array, y: Array) -> None:
    """Check inputs `x` (N, n_0) and wanted outputs `y` (N, n_L).

    Raises UserError if there are none, shapes do not fit, or a number is NaN or infinite.
    """
    for name, array in (("x", x), ("y", y)):
        if array.ndim != 2 or 0 in array.shape:
            raise UserError(f"{name}: expected shape (examples, units), found {array.shape}; rows are examples")
        finite = np.isfinite(array)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise UserError(
                f"{name}: expected finite numbers, found {array.size - np.count_nonzero(finite)} that are not, "
                f"the first one {array[row, column]} in row {row}, column {column}"
            )
    if len(x) != len(y):
        raise UserError(f"x and y: expected as many examples in both, found {len(x)} and {len(y)}")
