"""What is said to workers and by them: requests and replies, one JSON object a line.

Times are in seconds, memory in bytes.
"""

from typing import Annotated, ClassVar

import msgspec

from bench.conditions import Calls, Cost, Count, Positive, ThreadPool, Workload
from bench.records import FirstCall, Outcome
from impls.conformance.violation import Violation
from impls.support.loading import Target

FAILURES = (Outcome.CRASHED, Outcome.INCORRECT, Outcome.TOO_SLOW, Outcome.UNAVAILABLE)  # that a worker may report


class Calibration(msgspec.Struct, frozen=True):
    """How many calls make a sample, and how long one of them takes."""

    calls: Calls
    call_seconds: Positive


class Request(msgspec.Struct, frozen=True, tag_field="do", tag=str.lower):
    """A request to a worker; its tag, `do`, is the name of the class in lower case."""


class Start(Request, frozen=True):
    """Import the implementation that a registry entry names; None for a worker that needs none."""

    target: Target | None


class Prepare(Request, frozen=True):
    """Construct the implementation on a workload and call it; check and calibrate it if no process did so before."""

    workload: Workload
    threads: int
    data: tuple[str, str]  # paths of .npy files with x (N, 784) and y (N, 10)
    seed: int
    sample_seconds: float
    budget_seconds: float  # the longest that a call may take, where it has to be calibrated
    calibration: Calibration | None = None  # found by an earlier process, whose gradient was also checked


class PrepareRate(Request, frozen=True):
    """Prepare what implementations are measured against: the peak or the reference rate."""

    kind: str  # "peak" or "reference"
    dtype: str
    threads: int
    sample_seconds: float


class Arrange(Request, frozen=True):
    """Load the parameters and prepare the examples of a problem instance, untimed: the next sample starts there."""

    instance: int  # the number that it is drawn from


class Take(Request, frozen=True):
    """Time one sample."""


class HandOver(Request, frozen=True):
    """Write the parameters that the calls of the last sample left behind to a file."""

    path: str


class Loop(Request, frozen=True):
    """Call for so many seconds, or until the next request waits: for a profiler."""

    seconds: float


class Pause(Request, frozen=True):
    """Do nothing: the request that ends a loop."""


class Verify(Request, frozen=True):
    """Run all checks of the conformance kit; if they find nothing, explore with random programs."""

    examples: int  # programs, at most
    seed: int
    seconds: float  # for the programs, and as many again to shrink one that fails
    folder: str  # for PROGRAM, the one that was begun last, and for Hypothesis

    PROGRAM: ClassVar[str] = "program.py"


AnyRequest = Start | Prepare | PrepareRate | Arrange | Take | HandOver | Loop | Pause | Verify


class Reply(msgspec.Struct, tag_field="reply", tag=str.lower):
    """A worker's reply; its tag, `reply`, is the name of the class in lower case."""


class Failure(Reply):
    """The implementation cannot be timed: the outcome, the reason in one line, and the traceback of an exception."""

    outcome: Outcome
    reason: str
    traceback: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in FAILURES:
            raise ValueError(f"expected the outcome of a failure, found {self.outcome!r}")


class Started(Reply):
    import_seconds: float
    pid: int


class Prepared(Reply):
    calibration: Calibration
    busiest_threads: list[Count]  # ids of those that compute, empty with one thread
    overhead_percent: float  # the harness's own share of a sample
    thread_pools: list[ThreadPool]
    build: dict[str, str]  # libraries behind the implementation: name to version and flags
    cost: Cost  # that it computes the gradient of
    children: bool  # whether it has started processes
    first_call: FirstCall | None  # where nothing was done in this process before
    tracing: list[str] = []  # what traced or checks the process, in words


class PreparedRate(Reply):
    what: str  # in words
    flops: int  # of a call
    calibration: Calibration
    busiest_threads: list[int]


class Arranged(Reply):
    pass


class Taken(Reply):
    """A sample as its worker's clock saw it."""

    started: float  # reading of the clock, which is the same one in all processes, when the request came …
    ended: float  # … and when it was answered
    seconds: Annotated[float, msgspec.Meta(ge=1e-6, le=1e9)]  # of the timed calls together: a sample takes milliseconds
    cpu_seconds: float  # of this process and of all that it started
    calls: Calls
    untimed_calls: Annotated[int, msgspec.Meta(ge=0, le=1)]  # before the timed ones, from the same parameters
    idle_cpus: float  # that this process, and all that it started, used since its last sample: others were timed then
    read_at_rest_seconds: float  # that reading the parameters took when nothing could be pending …
    read_after_one_seconds: float  # … after the untimed call, if there was one …
    read_after_all_seconds: float  # … and after the timed calls
    own_bytes: int  # resident memory of this process and of all that it started, without what they share in files
    compilations: int


class Tensor(msgspec.Struct, frozen=True):
    """Dtype and shape of an array."""

    dtype: str
    shape: tuple[Count, ...]


class HandedOver(Reply):
    """What stands in the file, as float64 numbers in C order, the weights first."""

    weights: list[Tensor]
    biases: list[Tensor]
    children: bool  # whether processes that the implementation started are alive


class Looped(Reply):
    calls: int
    seconds: float


class Paused(Reply):
    pass


class Verified(Reply):
    violations: list[Violation]
    programs: int  # that were run
    warnings: list[str] = []  # that a correct implementation causes, each with its file and line


AnyReply = Failure | Started | Prepared | PreparedRate | Arranged | Taken | HandedOver | Looped | Paused | Verified
