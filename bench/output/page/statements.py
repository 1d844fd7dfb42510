"""The post, seven years on: what "Python vs Rust for Neural Networks" said in 2019, and what this machine says of it.

Each statement is turned into a range that a figure has to lie in; "about 2x" is read as 1.5 to 2.7 times. A verdict is
computed from the interval of the figure: it holds if the interval lies in the range, it does not if the interval lies
outside, and otherwise it is inconclusive.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.compare_implementations import compare_implementations
from bench.output.page.facts import Recorded
from bench.output.text import estimate_text
from bench.records import Estimate, Results
from bench.workloads.names import default_workloads
from impls.support.errors import UserError

WORKLOAD = "book"
ABOUT_TWO = (1.5, 2.7)
ABOUT_HALF = (35.0, 65.0)  # per cent
MOST = (50.0, 100.0)
NOTHING = (0.0, 1.1)  # times as fast
HOLDS, DOES_NOT, UNKNOWN = "holds", "does not hold", "inconclusive"


Figure = Callable[[Results, Mapping[str, Recorded]], Estimate]


@dataclass(frozen=True)
class Claim:
    """What the post says, as a range of a figure."""

    words: str
    measured: str  # what is taken for it here
    figure: Figure  # raises UserError if it is not there
    range: tuple[float, float]
    unit: str = " times"


@dataclass(frozen=True)
class Statement:
    """A claim, and what becomes of it here."""

    claim: Claim
    verdict: str
    figure: str = ""
    why: str = ""  # it is inconclusive


def statements(results: Results, recordings: Sequence[Recorded]) -> list[Statement]:
    """Return the statements of the post with this machine's figures and verdicts."""
    by_label = {recording.row: recording for recording in recordings if recording.workload == WORKLOAD}
    return [_checked(claim, results, by_label) for claim in CLAIMS]


def verdict(figure: Estimate, claimed: tuple[float, float]) -> str:
    """Return whether a figure's interval lies in a range: it holds, it does not, or that is inconclusive."""
    low, high = figure.low, figure.high
    if low is None or high is None:
        return UNKNOWN
    if claimed[0] <= low and high <= claimed[1]:
        return HOLDS
    return DOES_NOT if high < claimed[0] or claimed[1] < low else UNKNOWN


def _checked(claim: Claim, results: Results, recordings: Mapping[str, Recorded]) -> Statement:
    try:
        figure = claim.figure(results, recordings)
    except UserError as error:
        return Statement(claim, UNKNOWN, why=str(error))
    word = verdict(figure, claim.range)
    why = f"the interval reaches over an end of {claim.range[0]:g} to {claim.range[1]:g}" if word == UNKNOWN else ""
    return Statement(claim, word, estimate_text(figure) + claim.unit, why)


def _ratio(slow: str, fast: str) -> Figure:
    return lambda results, _: _ratio_on(results, WORKLOAD, slow, fast)


def _ratio_on_cores(slow: str, fast: str) -> Figure:
    return lambda results, _: _ratio_on(results, _on_several_cores(results), slow, fast)


def _ratio_on(results: Results, workload: str, slow: str, fast: str) -> Estimate:
    for label in (slow, fast):
        result = results.row(workload, label)
        if result is None or not result.timed:
            raise UserError(f"{label} was not timed on {workload}")
    return compare_implementations(results, slow, fast)[workload]


def _on_several_cores(results: Results) -> str:
    """Return the workload that is the book's step on several cores. Raises UserError if there is none."""
    book = default_workloads()[WORKLOAD]
    for workload in [workload_result.workload for workload_result in results.workloads]:
        same_step = (workload.sizes, workload.batch_size, workload.timed) == (book.sizes, book.batch_size, "step")
        if workload.threads > 1 and same_step:
            return workload.name
    raise UserError("the run has no such step on several cores: --workload=784-30-10:10:float64:2 adds it")


def _share(label: str, category: str) -> Figure:
    def figure(_results: Results, recordings: Mapping[str, Recorded]) -> Estimate:
        if label not in recordings:
            raise UserError(f"there is no recording of {label} on {WORKLOAD}: backprop profile {label} makes one")
        percent, margin = recordings[label].shares.get(category, (0.0, 0.0))
        return Estimate(max(percent, 1e-9), max(percent - margin, 1e-9), percent + margin)

    return figure


CLAIMS = (
    Claim(
        "A Rust port of the loop over examples is about twice as fast as the Python.",
        "rust_per_example_blas over per_example: both call OpenBLAS, as the post's did",
        _ratio("per_example", "rust_per_example_blas"),
        ABOUT_TWO,
    ),
    Claim(
        "Python on whole mini-batches is about twice as fast as that Rust.",
        "batched_2d over rust_per_example_blas",
        _ratio("rust_per_example_blas", "batched_2d"),
        ABOUT_TWO,
    ),
    Claim(
        "About half of the Rust program's time is spent in dgemm.",
        "BLAS in the recording of rust_per_example_blas",
        _share("rust_per_example_blas", "BLAS"),
        ABOUT_HALF,
        " %",
    ),
    Claim(
        "Most of the Python program's time is spent in np.dot, too, so that tenfold can never be hoped for.",
        "BLAS in the recording of per_example",
        _share("per_example", "BLAS"),
        MOST,
        " %",
    ),
    Claim(
        "Tenfold can never be hoped for: no program for this step is ten times as fast as the loop in Python.",
        "rust_fused over per_example",
        _ratio("per_example", "rust_fused"),
        (0.0, 10.0),
    ),
    Claim(
        "rayon brings nothing: threads do not make the small network's step faster.",
        "rust_rayon over rust_batched on several cores",
        _ratio_on_cores("rust_batched", "rust_rayon"),
        NOTHING,
    ),
    Claim(
        "ndarray has no product above two dimensions; NumPy's stacks of matrices are the reason to batch.",
        "batched_3d, stacks of matrices, over batched_2d, matrices: what such a product would bring",
        _ratio("batched_2d", "batched_3d"),
        (1.0, float("inf")),
    ),
    Claim(
        "Rust's bindings of Torch bring nothing over Python's.",
        "rust_tch over torch: the same libtorch, in the environment that make rust-tch makes",
        _ratio("torch", "rust_tch"),
        NOTHING,
    ),
    Claim(
        "Rust's bindings of TensorFlow bring nothing over Python's.",
        "rust_tensorflow over tensorflow: the same library, a session's graph in place of tf.function",
        _ratio("tensorflow", "rust_tensorflow"),
        NOTHING,
    ),
)
