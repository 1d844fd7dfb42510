"""TensorFlow: a GradientTape and the update in one tf.function.

What changed from `jax`: parameters are variables that the traced function assigns to, and the graph runs operation
by operation through Eigen and oneDNN, without a compiler. The function is traced twice, for whole mini-batches and for
smaller ones of any size, and called as a concrete function, which spares each call the search for the trace that fits.
An epoch is one call, too: a loop in the graph. The learning rate stays a tensor while it is the same.

XLA (`jit_compile=True`) is left out because it is slower here. TensorFlow takes its numbers of threads once a
process, before its first operation.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no notes on standard error about CPU features and GPUs

import numpy as np
import tensorflow as tf
from numpy.typing import DTypeLike, NDArray

from impls.interface import Array, Batch, Implementation, Parameters


class TensorFlow(Implementation):
    """A traced graph for the step and for the epoch."""

    compiles_per_shape = True

    @classmethod
    def build(cls) -> dict[str, str]:
        flags = {key: str(value) for key, value in tf.sysconfig.get_build_info().items()}
        compiled = (
            f"{tf.version.COMPILER_VERSION}, {flags}, oneDNN {os.environ.get('TF_ENABLE_ONEDNN_OPTS', 'default')}"
        )
        return {"tensorflow": tf.__version__, "tensorflow_build": compiled}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        with suppress(RuntimeError):  # a second instance in this process: the first one's threads hold
            tf.config.set_visible_devices([], "GPU")
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        self._W = [tf.Variable(W) for W in self.weights]  # (n_out, n_in)
        self._b = [tf.Variable(b) for b in self.biases]  # (n_out,)
        some, whole = (
            [tf.TensorSpec((examples, n), self.dtype) for n in (self.sizes[0], self.sizes[-1])]
            for examples in (None, self.batch_size)
        )
        order, rate = tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), self.dtype)
        self._gradients = tf.function(self._gradient).get_concrete_function(*some)
        self._whole_step = tf.function(self._update).get_concrete_function(*whole, rate)
        self._step = tf.function(self._update).get_concrete_function(*some, rate)
        self._epoch = tf.function(self._updates).get_concrete_function(*some, order, rate)
        self._rate = (0.0, tf.constant(0.0, self.dtype))  # the last learning rate, and the same as a tensor

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        for mine, theirs in zip(self._W + self._b, parameters.weights + parameters.biases, strict=True):
            mine.assign(theirs)

    def parameters(self) -> Parameters:
        return Parameters([W.numpy().copy() for W in self._W], [b.numpy().copy() for b in self._b])

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        return Batch(tf.constant(x), tf.constant(y))

    def gradients(self, batch: Batch) -> Parameters:
        dW, db = self._gradients(*batch)
        return Parameters([d.numpy().copy() for d in dW], [d.numpy().copy() for d in db])

    def step(self, batch: Batch, learning_rate: float) -> None:
        if learning_rate != self._rate[0]:
            self._rate = (learning_rate, tf.constant(learning_rate, self.dtype))
        step = self._whole_step if len(batch.x) == self.batch_size else self._step
        step(*batch, self._rate[1])

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._epoch(*data, tf.constant(order, tf.int64), tf.constant(learning_rate, self.dtype))

    def _gradient(self, x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            a = x
            for W, b in zip(self._W, self._b, strict=True):
                a = tf.sigmoid(tf.matmul(a, W, transpose_b=True) + b)  # (B, n_out)
            examples = tf.cast(tf.shape(x)[0], self.dtype)
            cost = tf.reduce_sum((a - y) ** 2) / (2 * examples)
        return tape.gradient(cost, (self._W, self._b))

    def _update(self, x: Any, y: Any, learning_rate: Any) -> None:
        dW, db = self._gradient(x, y)
        for p, dp in zip(self._W + self._b, dW + db, strict=True):
            p.assign_sub(learning_rate * dp)

    def _updates(self, x: Any, y: Any, order: Any, learning_rate: Any) -> None:
        whole = len(order) // self.batch_size * self.batch_size
        for rows in tf.reshape(order[:whole], (-1, self.batch_size)):
            self._update(tf.gather(x, rows), tf.gather(y, rows), learning_rate)
        if whole < len(order):
            rows = order[whole:]
            self._update(tf.gather(x, rows), tf.gather(y, rows), learning_rate)
