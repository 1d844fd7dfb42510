"""What all rows in Rust have in common: examples and parameters are Rust's while they are used.

A timed call converts nothing, and releases the interpreter's lock.
"""

from typing import Any, ClassVar

from impls.interface import Array, Implementation, Parameters


class RustNative(Implementation):
    """A crate's network behind the contract; subclasses construct `_network` and run its epochs."""

    batch: ClassVar[type]  # of the crate: examples in Rust's hands
    _network: Any  # of the crate

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self._network.load(*parameters)

    def parameters(self) -> Parameters:
        return Parameters(*self._network.parameters())

    def prepare_data(self, x: Array, y: Array) -> Any:
        return self.batch(*super().prepare_data(x, y))

    def gradients(self, batch: Any) -> Parameters:
        return Parameters(*self._network.gradients(batch))

    def step(self, batch: Any, learning_rate: float) -> None:
        self._network.step(batch, learning_rate)
