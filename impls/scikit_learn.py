"""scikit-learn's MLPClassifier, one `partial_fit` a step or an epoch: logistic units, plain SGD, nothing shuffled.

It has no quadratic cost, so its gradient is another than that of all others. With each output as a label of its
own, its network is the same sigmoid network, and its cost is the cross-entropy of Nielsen's chapter 3,
C = -1/B * sum over the batch of y ln a + (1 - y) ln(1 - a). The one difference in the equations is the last delta,
a - y instead of (a - y) a (1 - a): a little less work. It follows that y must be 0 or 1. NaN is refused.

What `partial_fit` checks again at every call is in the time, as it is for everyone who calls it. The learning rate
and the gradient are not public: they are read and written where the optimizer keeps them.
"""

from collections.abc import Sequence

import numpy as np
import sklearn
from numpy.typing import DTypeLike, NDArray
from sklearn.neural_network import MLPClassifier

from impls.interface import Array, Batch, Implementation, Parameters


class ScikitLearn(Implementation):
    """MLPClassifier.partial_fit on the cross-entropy."""

    cost = "cross-entropy"

    @classmethod
    def build(cls) -> dict[str, str]:
        return {"scikit-learn": sklearn.__version__}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._model = MLPClassifier(
            self.sizes[1:-1],
            activation="logistic",
            solver="sgd",
            alpha=0.0,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        x, y = self.prepare_data(np.zeros((1, self.sizes[0]), self.dtype), np.zeros((1, self.sizes[-1]), self.dtype))
        self._model.partial_fit(x, y, classes=np.arange(max(2, self.sizes[-1])))  # allocates
        self._optimizer = self._model._optimizer
        self.weights = [coef.T for coef in self._model.coefs_]  # (n_out, n_in), views
        self.biases = self._model.intercepts_  # (n_out,)
        for p in self.weights + self.biases:
            p.fill(0.0)

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        for velocity in self._optimizer.velocities:  # it multiplies them by a momentum of 0, and 0 * NaN is NaN
            velocity.fill(0.0)

    def prepare_data(self, x: Array, y: Array) -> Batch:
        x, y = super().prepare_data(x, y)
        if not np.all((y == 0) | (y == 1)):
            raise ValueError("y: expected labels 0 and 1, got other numbers; MLPClassifier learns no others")
        labels = y.astype(np.intp)  # (N, n_L)
        return Batch(x, labels if self.sizes[-1] > 1 else labels[:, 0])  # scikit-learn wants one label as (N,)

    def gradients(self, batch: Batch) -> Parameters:
        before = self.parameters()
        try:
            self.step(batch, 1.0)
            steps = [-velocity for velocity in self._optimizer.velocities]  # what a learning rate of 1 takes away
        finally:
            self.load(before)
        layers = len(self.weights)
        return Parameters([dW.T.copy() for dW in steps[:layers]], steps[layers:])

    def step(self, batch: Batch, learning_rate: float) -> None:
        self._model.batch_size = len(batch.x)  # or it takes 200 at a time
        self._optimizer.learning_rate = learning_rate
        self._model.partial_fit(batch.x, batch.y)

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._model.batch_size = min(self.batch_size, len(order))
        self._optimizer.learning_rate = learning_rate
        self._model.partial_fit(data.x[order], data.y[order])  # goes through the mini-batches itself
