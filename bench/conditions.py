"""What a run is asked, and where it runs: workloads, settings, the machine and its libraries, and bounds.

msgspec encodes, decodes and validates it, as all of `bench.records`. Times are in seconds, memory in bytes.
"""

from itertools import pairwise
from typing import Annotated

import msgspec

from bench.system.cpus import whole_cores
from impls.support.text import one_line

# These refuse NaN and infinity, too. Whatever is within can be squared and divided by, and from samples within these
# Seconds no interval overflows, not even that of two processes.
Positive = Annotated[float, msgspec.Meta(ge=1e-30, lt=1e15)]
Seconds = Annotated[float, msgspec.Meta(ge=1e-12, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Calls = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Generation = Annotated[int, msgspec.Meta(ge=0, lt=10_000)]
Threads = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Units = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]  # of a layer
Examples = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]  # of a mini-batch
MAX_NAME, MAX_LABEL, MAX_REASON = 80, 40, 600  # letters
Cost = Annotated[str, msgspec.Meta(pattern="^(quadratic|cross-entropy)$")]


def printable(text: str, length: int) -> str:
    """Return a text of unknown origin as one line of printable characters, shortened to `length`."""
    line = one_line(text[: 4 * length]) or "(no name)"
    return line if len(line) <= length else f"{line[: length - 1]}…"


def threads_text(count: int) -> str:
    """Return a number of threads in words."""
    return f"{count} thread{'s' * (count != 1)}"


class Workload(msgspec.Struct, frozen=True):
    """What every implementation is asked to compute. Its bounds are those of a file; a command line is held to less."""

    name: str
    sizes: Annotated[tuple[Units, ...], msgspec.Meta(min_length=2, max_length=1 << 16)]  # by layer, inputs first
    batch_size: Examples  # in a mini-batch
    dtype: Annotated[str, msgspec.Meta(pattern="^float(32|64)$")] = "float64"
    threads: Threads = 1  # cores that an implementation may use
    timed: str = "step"  # or "epoch": one pass over the data set
    baseline: str = "per_example"  # the implementation that speed-ups are relative to …
    baseline_threads: Threads = 1  # … on this many cores
    sweep: str = ""  # the sweep that it belongs to, if any
    epoch_examples: Count = 0  # that an epoch goes through; 0: as many as the run has for all epochs

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", printable(self.name, MAX_NAME))

    @property
    def weights(self) -> int:
        """Return the number of weights."""
        return sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))

    @property
    def baseline_label(self) -> str:
        """Return the label of the baseline: `name@1` where it has fewer threads than the workload."""
        if self.baseline_threads == self.threads:
            return self.baseline
        return f"{self.baseline}@{self.baseline_threads}"

    def flops(self, examples: int) -> int:
        """Return the floating-point operations of the matrix products for so many examples."""
        from impls.interface import product_flops  # with NumPy, which a worker does not import before it needs it

        return examples * product_flops(self.sizes)

    def examples(self, data_examples: int) -> int:
        """Return the examples that one timed call goes through, given those of the data set."""
        return self.epoch_examples or data_examples if self.timed == "epoch" else self.batch_size

    def describe(self) -> str:
        """Return the workload in words: `784-30-10, batch 10, float64, 1 thread, step`."""
        timed = f"epoch of {self.epoch_examples:,} examples" if self.epoch_examples else self.timed
        network, threads = "-".join(map(str, self.sizes)), threads_text(self.threads)
        return f"{network}, batch {self.batch_size}, {self.dtype}, {threads}, {timed}"


class Settings(msgspec.Struct, frozen=True):
    """How much to measure."""

    generations: int = 10
    workload_seconds: float = 4.0  # of sampling per workload, over all generations
    sample_seconds: float = 0.005  # at least, per sample
    budget_seconds: float = 0.1  # an implementation whose call takes longer is skipped
    time_out: float = 120.0  # for any answer of a worker
    min_rounds: int = 5
    max_rounds: int = 40
    seed: int = 0  # of all that is drawn; a run draws its own, so that no implementation can know it
    precision: float | None = None  # half-width over value of every interval, to be reached by more generations …
    most_seconds: float = 600.0  # … within this time, over all workloads


class ThreadPool(msgspec.Struct, frozen=True):
    """A BLAS or OpenMP library in a worker, with the threads that it is set to use."""

    library: str
    user_api: str = ""
    internal_api: str = ""
    version: str | None = None
    architecture: str | None = None
    threading_layer: str | None = None
    num_threads: int = 0


class MemoryRate(msgspec.Struct, frozen=True):
    """How many bytes a second come from memory and go there when so many threads ask for them."""

    threads: int
    bytes_per_second: Positive


class Machine(msgspec.Struct):
    """What a reader of the results needs to know about the machine."""

    cpu_model: str = "unknown processor"
    cpus: int | None = None
    usable_cpus: int | None = None
    cpu_quota: Positive | None = None  # CPUs that a control group allows at once, where these are fewer than usable
    siblings: list[list[int]] = []  # the usable CPUs by core: those in one list are hardware threads of the same core
    memory_bytes: int | None = None
    memory_rates: list[MemoryRate] = []
    governor: str = ""
    hypervisor: bool | None = None
    avx512: bool | None = None
    system: str = ""
    python: str = ""
    versions: dict[str, str] = {}
    numpy_blas: str = ""
    variables: dict[str, str] | None = None  # of the environment that steer libraries, such as which kernels they use

    @property
    def cores(self) -> int | None:
        """Return how many CPUs a run could keep busy."""
        return None if self.usable_cpus is None else whole_cores(self.usable_cpus, self.cpu_quota)

    @property
    def kind(self) -> tuple[str, int | None, float | None]:
        """Return what tells machines apart where results stand side by side: the processor and how much of it."""
        return self.cpu_model, self.usable_cpus, self.cpu_quota
