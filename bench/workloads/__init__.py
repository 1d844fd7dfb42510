"""What is computed: workloads, data, initial parameters."""

from collections.abc import Callable
from typing import Any

Call = tuple[Callable[..., object], tuple[Any, ...]]  # a function and its arguments
