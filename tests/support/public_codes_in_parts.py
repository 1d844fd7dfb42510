"""More public codes: layers as objects, a tape, closures, and other arrangements of the same arithmetic."""

# The authors' style: zip without strict or pairwise, X and W as arguments.
# ruff: noqa: B905, N803

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from public_codes import public_code, sigmoid
from scipy.special import expit

from impls.interface import Array, Batch, Implementation, Parameters

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
        model.backward((predicted - batch.y) / len(batch.x))
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

    def sigmoid(self) -> "Tensor":
        out = Tensor(1.0 / (1.0 + np.exp(-self.data)), (self,))

        def _backward() -> None:
            self.grad += out.grad * out.data * (1.0 - out.data)

        out._backward = _backward
        return out

    def backward(self, grad: Array) -> None:
        topo: list[Tensor] = []
        visited = set()

        def build_topo(v: "Tensor") -> None:
            if v not in visited:
                visited.add(v)
                for child in v._prev:
                    build_topo(child)
                topo.append(v)

        build_topo(self)
        self.grad = grad
        for v in reversed(topo):
            v._backward()


@public_code
class Tape(Implementation):
    """A small reverse-mode automatic differentiation."""

    def gradients(self, batch: Batch) -> Parameters:
        layers = [(Tensor(W.T), Tensor(b)) for W, b in zip(self.weights, self.biases)]
        a = Tensor(batch.x)
        for W, b in layers:
            a = (a @ W + b).sigmoid()
        a.backward((a.data - batch.y) / len(batch.x))
        return Parameters([W.grad.T for W, _ in layers], [b.grad for _, b in layers])


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
