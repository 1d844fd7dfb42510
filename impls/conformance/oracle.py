"""The oracle: gradients and epochs in float64, against which every implementation is compared.

It shares no code with any implementation and stores things differently: examples are columns, and each bias is one
more column of its weights. Dimensions are those of `impls.interface`.
"""

import numpy as np
from numpy.typing import NDArray

from impls.interface import Array, Parameters

COSTS = ("quadratic", "cross-entropy")


def oracle_gradients(parameters: Parameters, x: Array, y: Array, cost: str = "quadratic") -> Parameters:
    """Return the gradient of C = 1/(2B) * sum of |a - y|^2 in float64, for `x` (B, n_0) and `y` (B, n_L).

    Nielsen, chapter 2, equations BP1 to BP4, with W and b combined in one matrix and a 1 appended to each activation.
    For the cost "cross-entropy" (chapter 3) it is the gradient of C = -1/B * sum of y ln a + (1 - y) ln(1 - a), where
    dC/dz of the last layer lacks the slope of the sigmoid. Raises ValueError for any other cost.
    """
    if cost not in COSTS:
        raise ValueError(f"cost: expected {' or '.join(COSTS)}, got {cost!r}")
    layers = [
        np.column_stack([W, b]).astype(np.float64) for W, b in zip(parameters.weights, parameters.biases, strict=True)
    ]  # (n_out, n_in + 1)
    activation = np.asarray(x, np.float64).T  # (n_0, B)
    inputs, slopes = [], []
    for layer in layers:
        inputs.append(np.vstack([activation, np.ones((1, len(x)))]))  # (n_in + 1, B)
        activation, slope = _sigmoid_and_slope(layer @ inputs[-1])  # (n_out, B)
        slopes.append(slope)
    upstream = (activation - np.asarray(y, np.float64).T) / len(x)  # (n_L, B), dC/da
    if cost == "cross-entropy":
        slopes[-1] = np.ones_like(slopes[-1])  # for this cost, `upstream` is already dC/dz
    gradients: list[Array] = []
    for layer, layer_input, slope in zip(reversed(layers), reversed(inputs), reversed(slopes), strict=True):
        delta = upstream * slope  # (n_out, B), dC/dz
        gradients.insert(0, delta @ layer_input.T)  # (n_out, n_in + 1)
        upstream = layer[:, :-1].T @ delta  # (n_in, B)
    return Parameters([g[:, :-1] for g in gradients], [g[:, -1] for g in gradients])


def oracle_epoch(
    parameters: Parameters,
    x: Array,
    y: Array,
    order: NDArray[np.intp],
    batch_size: int,
    learning_rate: float,
    cost: str = "quadratic",
) -> Parameters:
    """Return the float64 parameters after one epoch: gradient steps through `order`, `batch_size` examples at a time.

    The last mini-batch may be smaller. `x` is (N, n_0), `y` is (N, n_L), `order` holds indices of examples.
    """
    weights = [np.array(W, np.float64) for W in parameters.weights]  # (n_out, n_in)
    biases = [np.array(b, np.float64) for b in parameters.biases]  # (n_out,)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        dW, db = oracle_gradients(Parameters(weights, biases), x[rows], y[rows], cost)
        weights = [W - learning_rate * dW_l for W, dW_l in zip(weights, dW, strict=True)]
        biases = [b - learning_rate * db_l for b, db_l in zip(biases, db, strict=True)]
    return Parameters(weights, biases)


def _sigmoid_and_slope(z: Array) -> tuple[Array, Array]:
    """Return the sigmoid and its derivative, both to full relative precision in both tails."""
    with np.errstate(under="ignore"):
        tail = np.exp(-np.abs(z))  # at most 1, so nothing overflows
        whole = 1.0 + tail
        return np.where(z < 0.0, tail, 1.0) / whole, tail / whole**2
