"""Ten correct ways to write the book's network, as public repositories write it, each with a thin adapter.

The code above each adapter is in its authors' style and knows nothing of the contract. Where it would
return float64 whatever it is given, because of `np.zeros` or of a learning rate in float64, the adapter converts.
"""

# The authors' style: zip without strict or pairwise, l for a layer, X and W as arguments, L_model_forward.
# ruff: noqa: B905, E741, N802, N803

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from scipy.special import expit

from impls.interface import Array, Batch, Implementation, Parameters

CODES: list[type[Implementation]] = []


def public_code(adapter: type[Implementation]) -> type[Implementation]:
    CODES.append(adapter)
    return adapter


def sigmoid(z: Array) -> Array:
    """The sigmoid function."""
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Array) -> Array:
    """Derivative of the sigmoid function."""
    return sigmoid(z) * (1 - sigmoid(z))  # type: ignore[no-any-return]


# --- network.py of the book ----------------------------------------------------------------------------------------


class Network:
    def __init__(self, weights: list[Array], biases: list[Array]) -> None:
        self.num_layers = len(weights) + 1
        self.biases = biases
        self.weights = weights

    def update_mini_batch(self, mini_batch: list[tuple[Array, Array]], eta: float) -> None:
        nabla_b, nabla_w = self.nabla(mini_batch)
        self.weights = [w - (eta / len(mini_batch)) * nw for w, nw in zip(self.weights, nabla_w)]
        self.biases = [b - (eta / len(mini_batch)) * nb for b, nb in zip(self.biases, nabla_b)]

    def nabla(self, mini_batch: list[tuple[Array, Array]]) -> tuple[list[Array], list[Array]]:
        nabla_b: list[Array] = [np.zeros(b.shape) for b in self.biases]
        nabla_w: list[Array] = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            delta_nabla_b, delta_nabla_w = self.backprop(x, y)
            nabla_b = [nb + dnb for nb, dnb in zip(nabla_b, delta_nabla_b)]
            nabla_w = [nw + dnw for nw, dnw in zip(nabla_w, delta_nabla_w)]
        return nabla_b, nabla_w

    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        nabla_b: list[Array] = [np.zeros(b.shape) for b in self.biases]
        nabla_w: list[Array] = [np.zeros(w.shape) for w in self.weights]
        # feedforward
        activation = x
        activations = [x]
        zs = []
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = sigmoid(z)
            activations.append(activation)
        # backward pass
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].transpose())
        for l in range(2, self.num_layers):
            z = zs[-l]
            sp = sigmoid_prime(z)
            delta = np.dot(self.weights[-l + 1].transpose(), delta) * sp
            nabla_b[-l] = delta
            nabla_w[-l] = np.dot(delta, activations[-l - 1].transpose())
        return nabla_b, nabla_w

    def cost_derivative(self, output_activations: Array, y: Array) -> Array:
        return output_activations - y


@public_code
class BookNetwork(Implementation):
    """The book's network.py: columns, an example at a time."""

    def network(self) -> Network:
        return Network(self.weights, [b.reshape(-1, 1) for b in self.biases])

    def gradients(self, batch: Batch) -> Parameters:
        nabla_b, nabla_w = self.network().nabla(examples(batch))
        return self.mean(nabla_w, nabla_b, len(batch.x))

    def mean(self, nabla_w: list[Array], nabla_b: list[Array], count: int) -> Parameters:
        dtype = self.dtype
        return Parameters(
            [(nw / count).astype(dtype) for nw in nabla_w], [(nb[:, 0] / count).astype(dtype) for nb in nabla_b]
        )

    def step(self, batch: Batch, learning_rate: float) -> None:
        network = self.network()
        network.update_mini_batch(examples(batch), learning_rate)
        self.weights = [w.astype(self.dtype) for w in network.weights]
        self.biases = [b[:, 0].astype(self.dtype) for b in network.biases]


def examples(batch: Batch) -> list[tuple[Array, Array]]:
    """Return what the book's `load_data_wrapper` returns: pairs of columns."""
    return [(x.reshape(-1, 1), y.reshape(-1, 1)) for x, y in zip(batch.x, batch.y)]


# --- network2.py of the book ---------------------------------------------------------------------------------------


class QuadraticCost:
    @staticmethod
    def delta(z: Array, a: Array, y: Array) -> Array:
        return (a - y) * sigmoid_prime(z)


class Network2:
    def __init__(self, weights: list[Array], biases: list[Array], cost: type[QuadraticCost] = QuadraticCost) -> None:
        self.weights = weights
        self.biases = biases
        self.cost = cost

    def update_mini_batch(self, mini_batch: list[tuple[Array, Array]], eta: float, lmbda: float, n: int) -> None:
        nabla_b, nabla_w = self.backprop(*mini_batch[0])
        for x, y in mini_batch[1:]:
            delta_nabla_b, delta_nabla_w = self.backprop(x, y)
            nabla_b = [nb + dnb for nb, dnb in zip(nabla_b, delta_nabla_b)]
            nabla_w = [nw + dnw for nw, dnw in zip(nabla_w, delta_nabla_w)]
        self.weights = [
            (1 - eta * (lmbda / n)) * w - (eta / len(mini_batch)) * nw for w, nw in zip(self.weights, nabla_w)
        ]
        self.biases = [b - (eta / len(mini_batch)) * nb for b, nb in zip(self.biases, nabla_b)]

    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        activations, zs = [x], []
        for b, w in zip(self.biases, self.weights):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        delta = self.cost.delta(zs[-1], activations[-1], y)
        nabla_b, nabla_w = [delta], [np.dot(delta, activations[-2].T)]
        for w, z, activation in zip(self.weights[:0:-1], zs[-2::-1], activations[-3::-1]):
            delta = np.dot(w.T, delta) * sigmoid_prime(z)
            nabla_b.append(delta)
            nabla_w.append(np.dot(delta, activation.T))
        return nabla_b[::-1], nabla_w[::-1]


@public_code
class BookNetwork2(Implementation):
    """The book's network2.py, with the quadratic cost as a class and no regularization."""

    def network(self) -> Network2:
        return Network2(self.weights, [b[:, np.newaxis] for b in self.biases])

    def gradients(self, batch: Batch) -> Parameters:
        nablas = [self.network().backprop(x, y) for x, y in examples(batch)]
        dW = [sum(nw) / len(nw) for nw in zip(*(nabla_w for _, nabla_w in nablas))]
        db = [sum(nb)[:, 0] / len(nb) for nb in zip(*(nabla_b for nabla_b, _ in nablas))]
        return Parameters(dW, db)

    def step(self, batch: Batch, learning_rate: float) -> None:
        network = self.network()
        network.update_mini_batch(examples(batch), float(learning_rate), lmbda=0.0, n=len(batch.x))
        self.weights, self.biases = network.weights, [b[:, 0] for b in network.biases]


# --- The whole mini-batch as a matrix, examples as columns -----------------------------------------------------------


def backprop_matrix(weights: list[Array], biases: list[Array], X: Array, Y: Array) -> tuple[list[Array], list[Array]]:
    m = X.shape[1]
    A, Zs, As = X, [], [X]
    for w, b in zip(weights, biases):
        Z = w @ A + b
        A = sigmoid(Z)
        Zs.append(Z)
        As.append(A)
    nabla_w, nabla_b = [np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases]
    delta = (As[-1] - Y) * sigmoid_prime(Zs[-1])
    for i in reversed(range(len(weights))):
        nabla_w[i] = delta @ As[i].T / m
        nabla_b[i] = np.sum(delta, axis=1, keepdims=True) / m
        if i > 0:
            delta = (weights[i].T @ delta) * sigmoid_prime(Zs[i - 1])
    return nabla_w, nabla_b


@public_code
class MatrixOfColumns(Implementation):
    """The mini-batch as one matrix with an example in each column."""

    def gradients(self, batch: Batch) -> Parameters:
        columns = [b.reshape(-1, 1) for b in self.biases]
        nabla_w, nabla_b = backprop_matrix(self.weights, columns, batch.x.T, batch.y.T)
        return Parameters(nabla_w, [nb.ravel() for nb in nabla_b])


# --- Dictionaries and caches, as in a well-known course ------------------------------------------------------------


def linear_activation_forward(A_prev: Array, W: Array, b: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    Z = np.dot(W, A_prev) + b
    return sigmoid(Z), (A_prev, W, Z)


def L_model_forward(X: Array, parameters: dict[str, Array]) -> tuple[Array, list[tuple[Array, Array, Array]]]:
    caches = []
    A = X
    L = len(parameters) // 2
    for l in range(1, L + 1):
        A_prev = A
        A, cache = linear_activation_forward(A_prev, parameters["W" + str(l)], parameters["b" + str(l)])
        caches.append(cache)
    return A, caches


def linear_activation_backward(dA: Array, cache: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    A_prev, W, Z = cache
    m = A_prev.shape[1]
    s = 1.0 / (1.0 + np.exp(-Z))
    dZ = dA * s * (1 - s)
    dW = 1.0 / m * np.dot(dZ, A_prev.T)
    db = 1.0 / m * np.sum(dZ, axis=1, keepdims=True)
    dA_prev = np.dot(W.T, dZ)
    return dA_prev, dW, db


def L_model_backward(AL: Array, Y: Array, caches: list[tuple[Array, Array, Array]]) -> dict[str, Array]:
    grads = {}
    L = len(caches)
    grads["dA" + str(L)] = AL - Y
    for l in reversed(range(L)):
        dA_prev, dW, db = linear_activation_backward(grads["dA" + str(l + 1)], caches[l])
        grads["dA" + str(l)] = dA_prev
        grads["dW" + str(l + 1)] = dW
        grads["db" + str(l + 1)] = db
    return grads


@public_code
class DictionaryCaches(Implementation):
    """Parameters, caches and gradients in dictionaries."""

    def gradients(self, batch: Batch) -> Parameters:
        L = len(self.weights)
        parameters = {f"W{l + 1}": W for l, W in enumerate(self.weights)}
        parameters |= {f"b{l + 1}": b[:, np.newaxis] for l, b in enumerate(self.biases)}
        AL, caches = L_model_forward(batch.x.T, parameters)
        grads = L_model_backward(AL, batch.y.T, caches)
        return Parameters([grads[f"dW{l}"] for l in range(1, L + 1)], [grads[f"db{l}"][:, 0] for l in range(1, L + 1)])


# --- Layers as objects ---------------------------------------------------------------------------------------------


class Dense:
    def __init__(self, weights: Array, bias: Array) -> None:
        self.weights = weights
        self.bias = bias

    def forward(self, inputs: Array) -> Array:
        self.inputs = inputs
        return inputs @ self.weights + self.bias

    def backward(self, grad_output: Array) -> Array:
        self.grad_weights = self.inputs.T @ grad_output
        self.grad_bias = grad_output.sum(axis=0)
        return grad_output @ self.weights.T


class Sigmoid:
    def forward(self, inputs: Array) -> Array:
        self.output = 1.0 / (1.0 + np.exp(-inputs))
        return self.output

    def backward(self, grad_output: Array) -> Array:
        return grad_output * self.output * (1.0 - self.output)


class HalfSquaredError:
    def gradient(self, predicted: Array, actual: Array) -> Array:
        return (predicted - actual) / len(actual)


class Sequential:
    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def forward(self, inputs: Array) -> Array:
        for layer in self.layers:
            inputs = layer.forward(inputs)
        return inputs

    def backward(self, grad: Array) -> None:
        for layer in reversed(self.layers):
            grad = layer.backward(grad)


@public_code
class LayerObjects(Implementation):
    """Layers with `forward` and `backward` that remember their inputs; weights are (n_in, n_out)."""

    def gradients(self, batch: Batch) -> Parameters:
        dense = [Dense(W.T, b) for W, b in zip(self.weights, self.biases)]
        model = Sequential([layer for d in dense for layer in (d, Sigmoid())])
        predicted = model.forward(batch.x)
        model.backward(HalfSquaredError().gradient(predicted, batch.y))
        return Parameters([d.grad_weights.T for d in dense], [d.grad_bias for d in dense])


# --- The bias as one more column of the weights ----------------------------------------------------------------------


def add_ones(a: Array) -> Array:
    return np.hstack([np.ones((a.shape[0], 1), a.dtype), a])


def theta_gradients(thetas: list[Array], X: Array, y: Array) -> list[Array]:
    m = X.shape[0]
    inputs, a = [], X
    for theta in thetas:
        inputs.append(add_ones(a))
        a = sigmoid(inputs[-1].dot(theta.T))
    delta = (a - y) * a * (1 - a)
    grads = []
    for theta, a_with_ones in zip(reversed(thetas), reversed(inputs)):
        grads.append(delta.T.dot(a_with_ones) / m)
        delta = (delta.dot(theta) * a_with_ones * (1 - a_with_ones))[:, 1:]
    return grads[::-1]


@public_code
class BiasColumn(Implementation):
    """Bias and weights in one matrix, with a 1 in front of every activation."""

    def gradients(self, batch: Batch) -> Parameters:
        thetas = [np.column_stack([b, W]) for W, b in zip(self.weights, self.biases)]
        grads = theta_gradients(thetas, batch.x, batch.y)
        return Parameters([g[:, 1:].copy() for g in grads], [g[:, 0].copy() for g in grads])


# --- einsum --------------------------------------------------------------------------------------------------------


@public_code
class Einsum(Implementation):
    """Every product as an einsum, and the sigmoid from SciPy."""

    def gradients(self, batch: Batch) -> Parameters:
        a = [batch.x]
        for W, b in zip(self.weights, self.biases):
            a.append(expit(np.einsum("bi,oi->bo", a[-1], W) + b))
        dW, db = [np.empty_like(W) for W in self.weights], [np.empty_like(b) for b in self.biases]
        upstream = (a[-1] - batch.y) / batch.x.shape[0]
        for i in range(len(dW) - 1, -1, -1):
            delta = np.einsum("bo,bo,bo->bo", upstream, a[i + 1], 1 - a[i + 1])
            np.einsum("bo,bi->oi", delta, a[i], out=dW[i])
            np.einsum("bo->o", delta, out=db[i])
            upstream = np.einsum("bo,oi->bi", delta, self.weights[i])
        return Parameters(dW, db)


# --- A reverse-mode tape on arrays -----------------------------------------------------------------------------------


class Tensor:
    def __init__(self, data: Array, children: tuple["Tensor", ...] = ()) -> None:
        self.data = data
        self.grad = np.zeros_like(data)
        self._prev = children
        self._backward: Callable[[], None] = lambda: None

    def __matmul__(self, other: "Tensor") -> "Tensor":
        out = Tensor(self.data @ other.data, (self, other))

        def _backward() -> None:
            self.grad += out.grad @ other.data.T
            other.grad += self.data.T @ out.grad

        out._backward = _backward
        return out

    def __add__(self, other: "Tensor") -> "Tensor":
        out = Tensor(self.data + other.data, (self, other))

        def _backward() -> None:
            for t in (self, other):
                grad = out.grad
                while grad.ndim > t.data.ndim:  # undo the broadcasting
                    grad = grad.sum(axis=0)
                t.grad += grad

        out._backward = _backward
        return out

    @property
    def T(self) -> "Tensor":
        out = Tensor(self.data.T, (self,))

        def _backward() -> None:
            self.grad += out.grad.T

        out._backward = _backward
        return out

    def sigmoid(self) -> "Tensor":
        out = Tensor(1.0 / (1.0 + np.exp(-self.data)), (self,))

        def _backward() -> None:
            self.grad += out.grad * out.data * (1.0 - out.data)

        out._backward = _backward
        return out

    def half_mean_square(self) -> "Tensor":
        out = Tensor(np.asarray(0.5 * (self.data**2).sum() / len(self.data)), (self,))

        def _backward() -> None:
            self.grad += out.grad * self.data / self.data.dtype.type(len(self.data))

        out._backward = _backward
        return out

    def backward(self) -> None:
        topo: list[Tensor] = []
        visited = set()

        def build_topo(v: "Tensor") -> None:
            if v not in visited:
                visited.add(v)
                for child in v._prev:
                    build_topo(child)
                topo.append(v)

        build_topo(self)
        self.grad = np.ones_like(self.data)
        for v in reversed(topo):
            v._backward()


@public_code
class Tape(Implementation):
    """A small reverse-mode automatic differentiation."""

    def gradients(self, batch: Batch) -> Parameters:
        W, b = [Tensor(w) for w in self.weights], [Tensor(b) for b in self.biases]
        a = Tensor(batch.x)
        for w_l, b_l in zip(W, b):
            a = (a @ w_l.T + b_l).sigmoid()
        (a + Tensor(-batch.y)).half_mean_square().backward()
        return Parameters([w_l.grad for w_l in W], [b_l.grad for b_l in b])


# --- Functions and closures ------------------------------------------------------------------------------------------


Grads = list[tuple[Array, Array]]
Pullback = Callable[[Array, Grads], Grads]


def stable_sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def forward_with_pullback(state: tuple[Array, Pullback], layer: tuple[Array, Array]) -> tuple[Array, Pullback]:
    (a_in, pullback_before), (W, b) = state, layer
    a = stable_sigmoid(a_in @ W.T + b)

    def pullback(da: Array, grads: Grads) -> Grads:
        delta = da * a * (1 - a)
        return pullback_before(delta @ W, [(delta.T @ a_in, delta.sum(0)), *grads])

    return a, pullback


def value_and_pullback(layers: list[tuple[Array, Array]], x: Array) -> tuple[Array, Pullback]:
    identity: Pullback = lambda _, grads: grads  # noqa: E731
    return reduce(forward_with_pullback, layers, (x, identity))


@public_code
class Closures(Implementation):
    """A fold over the layers that returns the output and a closure for the way back."""

    def gradients(self, batch: Batch) -> Parameters:
        a, pullback = value_and_pullback(list(zip(self.weights, self.biases)), batch.x)
        dW, db = zip(*pullback((a - batch.y) / len(batch.x), []))
        return Parameters(list(dW), list(db))


# --- The update alone, in place --------------------------------------------------------------------------------------


@public_code
class UpdateInPlace(Implementation):
    """What updates the parameters as it goes, layer by layer, and never returns a gradient."""

    def step(self, batch: Batch, learning_rate: float) -> None:
        outputs = [batch.x.T]
        for W, b in zip(self.weights, self.biases):
            outputs.append(1.0 / (1.0 + np.exp(-(W.dot(outputs[-1]) + b[:, None]))))
        eta = learning_rate / len(batch.x)
        delta = (outputs[-1] - batch.y.T) * outputs[-1] * (1.0 - outputs[-1])
        for i in range(len(self.weights))[::-1]:
            delta_below = self.weights[i].T.dot(delta) * outputs[i] * (1.0 - outputs[i])
            self.weights[i] -= eta * delta.dot(outputs[i].T)
            self.biases[i] -= eta * delta.sum(axis=1)
            delta = delta_below
