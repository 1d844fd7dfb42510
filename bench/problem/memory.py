"""Whether a workload fits into memory, told before anything is started."""

from collections.abc import Mapping

import numpy as np
import psutil

from bench.records import Workload
from impls.errors import UserError

# What a worker holds, in numbers: the parameters as drawn, of the turn, the row's own, its gradients, what was read,
# and what is handed over; inputs and outputs of all layers and their errors; a data set as made, native, and gathered.
PARAMETERS, BATCHES, DATA_SETS = 8, 4, 3
ORACLES = 4  # times the numbers of a worker in float64, that the judge needs
USABLE = 0.8  # of the memory that is available


def check_fits(rows: Mapping[str, int], workloads: Mapping[str, Workload], data_examples: int) -> None:
    """Raise UserError if the workers of a workload do not fit into the memory that is available.

    `rows` has the number of rows of each workload, the baseline and the control included. Their workers are alive
    together. What a row holds beyond its parameters and layers, such as a gradient for each example, is not counted.
    """
    available = psutil.virtual_memory().available
    for name, workload in workloads.items():
        needed = needed_bytes(workload, rows[name], data_examples)
        if needed > USABLE * available:
            raise UserError(
                f"workload {name}: expected to fit into {available / 1e9:.1f} GB of available memory, needs about "
                f"{needed / 1e9:.1f} GB for {rows[name]} rows; choose a smaller one, or fewer rows with --impl"
            )


def needed_bytes(workload: Workload, rows: int, data_examples: int) -> int:
    """Return about how much memory the workers of so many rows and the judge need."""
    parameters = workload.weights + sum(workload.sizes[1:])
    numbers = PARAMETERS * parameters + BATCHES * workload.batch_size * sum(workload.sizes)
    if workload.timed == "epoch":
        numbers += DATA_SETS * workload.examples(data_examples) * (workload.sizes[0] + workload.sizes[-1])
    return numbers * (rows * np.dtype(workload.dtype).itemsize + ORACLES * 8)
