"""Correct ways to write the book's network, as public repositories write it, each with a thin adapter.

The code above each adapter is in its authors' style and knows nothing of the contract. Where it would
return float64 whatever it is given, because of `np.zeros` or of a learning rate in float64, the adapter converts.
"""

# The authors' style: zip without strict or pairwise, l for a layer, X and W as arguments, L_model_forward.
# ruff: noqa: B905, E741, N802, N803

import numpy as np

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
        delta = self.output_delta(zs[-1], activations[-1], y)
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].transpose())
        for l in range(2, self.num_layers):
            z = zs[-l]
            sp = sigmoid_prime(z)
            delta = np.dot(self.weights[-l + 1].transpose(), delta) * sp
            nabla_b[-l] = delta
            nabla_w[-l] = np.dot(delta, activations[-l - 1].transpose())
        return nabla_b, nabla_w

    def output_delta(self, z: Array, a: Array, y: Array) -> Array:
        return (a - y) * sigmoid_prime(z)


@public_code
class BookNetwork(Implementation):
    """The book's network.py: columns, an example at a time."""

    network: type[Network] = Network

    def gradients(self, batch: Batch) -> Parameters:
        nabla_b, nabla_w = self.book().nabla(examples(batch))
        return self.rows([nw / len(batch.x) for nw in nabla_w], [nb / len(batch.x) for nb in nabla_b])

    def step(self, batch: Batch, learning_rate: float) -> None:
        network = self.book()
        network.update_mini_batch(examples(batch), learning_rate)
        self.weights, self.biases = self.rows(network.weights, network.biases)

    def book(self) -> Network:
        return self.network(self.weights, [b.reshape(-1, 1) for b in self.biases])

    def rows(self, weights: list[Array], biases: list[Array]) -> Parameters:
        return Parameters([w.astype(self.dtype) for w in weights], [b[:, 0].astype(self.dtype) for b in biases])


def examples(batch: Batch) -> list[tuple[Array, Array]]:
    """Return what the book's `load_data_wrapper` returns: pairs of columns."""
    return [(x.reshape(-1, 1), y.reshape(-1, 1)) for x, y in zip(batch.x, batch.y)]


# --- network2.py of the book ---------------------------------------------------------------------------------------


class QuadraticCost:
    @staticmethod
    def delta(z: Array, a: Array, y: Array) -> Array:
        return (a - y) * sigmoid_prime(z)


class Network2(Network):
    cost = QuadraticCost

    def update_mini_batch(self, mini_batch: list[tuple[Array, Array]], eta: float, lmbda: float = 0.0) -> None:
        self.weights = [(1 - eta * (lmbda / len(mini_batch))) * w for w in self.weights]
        super().update_mini_batch(mini_batch, eta)

    def output_delta(self, z: Array, a: Array, y: Array) -> Array:
        return self.cost.delta(z, a, y)


@public_code
class BookNetwork2(BookNetwork):
    """The book's network2.py, with the quadratic cost as a class and no regularization."""

    network = Network2


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
