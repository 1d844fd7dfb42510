"""The table of all checks, run over networks, dtypes and numbers of threads, or on the workload that is timed next.

`check` and `check_workload` return all violations and do not stop at the first.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from impls.conformance import contract_checks, result_checks
from impls.conformance.diagnosis import likely_mistake
from impls.conformance.tolerance import Watch, tolerance
from impls.conformance.trial import CheckFunction, Factory, Trial
from impls.conformance.violation import Network, Violation, inputs_modified, rank
from impls.interface import Array, Implementation, Parameters
from impls.support.text import one_line
from impls.support.tracebacks import frames, in_words, whole


@dataclass(frozen=True)
class Check:
    """An entry of the table: a name, the function that checks, and the networks it is given."""

    name: str  # stable, in kebab-case
    clause: str  # of the contract, in the docstring of `impls.interface.Implementation`
    function: CheckFunction
    networks: Sequence[Network]

    @property
    def promise(self) -> str:
        """Return what is checked, in one sentence: the first line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]


SHALLOW = [Network((5, 3), 4, 4), Network((6, 5, 4), 7, 7), Network((1, 2, 1), 3, 3), Network((67, 33, 17), 65, 65)]
BOOK = [Network((784, 30, 10), 10, 10)]
SQUARE = [Network((4, 4, 4), 5, 5), Network((4, 4, 4), 4, 4), Network((5, 5, 5, 5), 3, 3)]
DEEP = [Network((7, 6, 5, 3), 6, 6), Network((5, 7, 4, 6, 3), 5, 5), Network((6, 5, 7, 4, 8, 3), 8, 8)]
ONE_EXAMPLE = [Network((6, 5, 4), 1, 1), Network((4, 5, 4, 3), 1, 1), Network((4, 4, 4), 7, 1)]
SMALLER_BATCH = [Network((6, 5, 4), 7, 3), Network((7, 6, 5, 3), 16, 13), Network((5, 4, 3), 64, 2)]
SMALL = [Network((7, 6, 5, 3), 6, 6)]
SEVERAL_BATCHES = [Network((7, 6, 5, 3), 6, 16)]
WHOLE_BATCHES = [Network((6, 5, 4), 4, 12)]
SHORT_LAST_BATCH = [Network((6, 5, 4), 4, 11), Network((7, 6, 5, 3), 5, 6), Network((6, 5, 4), 8, 3)]
TWO_BATCHES = [Network((7, 6, 5, 3), 5, 10)]
LONG = [Network((6, 5, 4), 2, 301)]
TOO_MANY_EXAMPLES = [Network((6, 5, 4), 4, 5), Network((6, 5, 4), 1, 2)]
WIDE = [Network((16, 16, 16, 16), 9, 9)]
FEW_EXAMPLES = [Network((6, 5, 4), 1, 1), Network((5, 2, 3, 1), 2, 2)]

CHECKS = (
    Check("gradient", "results", result_checks.gradient, SHALLOW + BOOK),
    Check("equal-widths", "results", result_checks.gradient, SQUARE),
    Check("deep-network", "results", result_checks.gradient, DEEP),
    Check("one-example", "results", result_checks.gradient, ONE_EXAMPLE),
    Check("smaller-batch", "results", result_checks.gradient, SMALLER_BATCH),
    Check("smaller-after-larger", "no memory of earlier calls", result_checks.smaller_after_larger, SMALL),
    Check("result-type", "types", result_checks.result_type, SMALL),
    Check("step", "results", result_checks.step, SHALLOW + BOOK + SQUARE + DEEP + ONE_EXAMPLE + SMALLER_BATCH),
    Check("no-learning", "results", result_checks.no_learning, SMALL),
    Check("many-steps", "results", result_checks.many_steps, SEVERAL_BATCHES),
    Check("epoch-order", "results", result_checks.epoch_in_order, WHOLE_BATCHES),
    Check("long-epoch", "results", result_checks.epoch_in_order, LONG),
    Check("short-last-batch", "results", result_checks.epoch_in_order, SHORT_LAST_BATCH),
    Check("several-epochs", "results", result_checks.several_epochs, SHORT_LAST_BATCH),
    Check("epoch-of-some", "results", result_checks.epoch_of_some, SHORT_LAST_BATCH[:2]),
    Check("saturated", "saturation", result_checks.saturated, WIDE),
    Check("extreme-input", "saturation", result_checks.extreme_input, WIDE),
    Check("fortran-ordered", "layouts", result_checks.memory_layout(result_checks.fortran_ordered), TWO_BATCHES),
    Check("non-contiguous", "layouts", result_checks.memory_layout(result_checks.non_contiguous), TWO_BATCHES),
    Check("read-only", "layouts", result_checks.memory_layout(result_checks.read_only), TWO_BATCHES),
    Check("inputs-unchanged", "inputs", contract_checks.inputs_unchanged, TWO_BATCHES),
    Check("parameters-unchanged", "inputs", contract_checks.parameters_unchanged, SMALL),
    Check("first-again", "no memory of earlier calls", result_checks.first_again, TWO_BATCHES),
    Check("pending-work", "synchronous", contract_checks.pending_work, SMALL),
    Check("remembered-results", "no memory of earlier calls", contract_checks.remembered_results, SMALL),
    Check("aliasing", "memory", contract_checks.aliasing, TWO_BATCHES),
    Check("parameters-copied", "load", contract_checks.parameters_copied, SMALL),
    Check("load-resets", "load", contract_checks.load_resets, SMALL),
    Check("independent-instances", "instances", contract_checks.independent_instances, SMALL),
    Check("more-threads-than-examples", "results", result_checks.more_threads_than_examples, FEW_EXAMPLES),
    Check("nan", "NaN", result_checks.nan, SMALL),
    Check("nan-forgotten", "NaN", result_checks.nan_forgotten, SMALL),
    Check("batch-too-large", "refusals", contract_checks.batch_too_large, TOO_MANY_EXAMPLES),
    Check("bad-load", "refusals", contract_checks.bad_load, SMALL),
    Check("partial-load", "refusals", contract_checks.partial_load, SMALL),
    Check("bad-batch", "refusals", contract_checks.bad_examples("prepare"), SMALL),
    Check("bad-data", "refusals", contract_checks.bad_examples("prepare_data"), SMALL),
    Check("bad-construction", "refusals", contract_checks.bad_construction, SMALL),
    Check("construction", "instances", contract_checks.construction, SMALL),
    Check("close-twice", "close", contract_checks.close_twice, SMALL),
    Check("left-behind", "close", contract_checks.left_behind, SMALL),
)


DTYPES, THREADS = ("float64", "float32"), (1, 2, 3)


def check(
    factory: Factory, dtypes: Sequence[str] = DTYPES, threads: Sequence[int] = THREADS, *, diagnosed: bool = True
) -> list[Violation]:
    """Return every violation of the contract that the kit finds; an exception is a violation, too.

    `factory` is called as factory(sizes, batch_size, dtype, threads) and is normally the class itself. Of `dtypes`,
    only those that it declares are checked. The likely mistakes are looked for if it is to be `diagnosed`, which takes
    seconds. Raises ValueError if no dtype is left, or one that has no tolerance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a correct result is not worse for them: `numerical_warnings` collects them
        return list(violations(factory, dtypes, threads, diagnosed=diagnosed))


def violations(
    factory: Factory, dtypes: Sequence[str] = DTYPES, threads: Sequence[int] = THREADS, *, diagnosed: bool = True
) -> Iterator[Violation]:
    """Yield the first violation of each check on each network; see `check`."""
    combinations = _combinations(factory, dtypes, threads)
    for entry in CHECKS:
        for network in entry.networks:
            first, failures = None, 0
            for dtype, count in combinations:
                trial = Trial(factory, dtype, count, network)
                violation = _violation(entry, trial, diagnosed=diagnosed and first is None)
                first, failures = first or violation, failures + bool(violation)
            if first and failures > 1:
                extent = f" ({failures} of {len(combinations)} combinations of dtype and threads fail)"
                first = replace(first, extent=extent)
            if first:
                yield first


def _combinations(factory: Factory, dtypes: Sequence[str], threads: Sequence[int]) -> list[tuple[str, int]]:
    """Return the dtypes and numbers of threads to check. Raises ValueError if there are none, or without tolerance."""
    declared = getattr(factory, "dtypes", None)
    checked = [dtype for dtype in dtypes if declared is None or dtype in declared]
    combinations = [(dtype, count) for dtype in checked for count in threads]
    if not combinations:
        raise ValueError(f"dtypes: expected at least one of {declared}, got {tuple(dtypes)}; nothing would be checked")
    for dtype in checked:
        tolerance(dtype)
    return combinations


def named_check(name: str) -> Check:
    """Return the check of that name."""
    return next(entry for entry in CHECKS if entry.name == name)


def numerical_warnings(factory: Factory) -> list[str]:
    """Return the warnings of a correct implementation where units are saturated, each once, with file and line.

    With AVX-512, OpenBLAS 0.3.31 multiplies float32 matrices of five columns in wider registers; the unused lanes hold
    leftovers of the stack, and their products are discarded. If a leftover is NaN, NumPy finds the floating-point flag
    "invalid" set and warns although the product is correct: such warnings of dot and matmul are left out.
    """
    recorded: dict[str, None] = {}
    for name in ("saturated", "extreme-input"):
        entry = named_check(name)
        for dtype, threads in _combinations(factory, DTYPES, (1,)):
            with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn", under="ignore"):
                warnings.simplefilter("always")
                _violation(entry, Trial(factory, dtype, threads, entry.networks[0]), diagnosed=False)
            for warning in caught:
                if not re.search("invalid value encountered in (dot|matmul)", str(warning.message)):
                    place = f"{Path(warning.filename).name}:{warning.lineno}"
                    recorded[f"{warning.category.__name__}: {one_line(str(warning.message))} ({place})"] = None
    return list(recorded)


def _violation(entry: Check, trial: Trial, *, diagnosed: bool) -> Violation | None:
    """Run one check on one trial; return what is wrong or was raised, None for nothing."""
    watch = Watch(trial.parameters, x=trial.x, y=trial.y, order=trial.order)
    errors: list[str] = []
    places: tuple[str, ...] = ()
    traceback = ""
    try:
        errors.extend(error for error in entry.function(trial) if error)
    except (Exception, SystemExit) as error:
        errors.append(f"raised {in_words(error)}")
        places, traceback = frames(error), whole(error)
    if not errors:
        return None
    modified = watch.modifications()
    violation = _violation_of(entry, trial, errors, diagnosed=diagnosed and not modified)
    diagnosis = inputs_modified(modified) or violation.diagnosis
    return replace(violation, diagnosis=diagnosis, frames=places, traceback=traceback)


def _violation_of(entry: Check, trial: Trial, errors: list[str], *, diagnosed: bool = True) -> Violation:
    """Return the violation that a check's errors are, with the likely mistake behind wrong results."""
    return Violation(
        entry.name,
        " ".join("; ".join(errors).split()),
        diagnosis=likely_mistake(trial.factory, trial.dtype, trial.threads)
        if diagnosed and trial.wrong_results
        else "",
        promise=entry.promise,
        setting=str(trial),
        rank=rank(trial.network, trial.threads, trial.dtype),
    )


# --- The workload that is timed next ----------------------------------------------------------------------------------

# Mini-batches in the epoch that is checked. Rounding errors grow from step to step, and over thousands of steps with a
# large learning rate two correct implementations diverge; over this many they stay within the tolerance.
EPOCH_STEPS = 32


def check_workload(
    implementation: Implementation,
    parameters: Parameters,
    x: Array,
    y: Array,
    learning_rate: float,
    *,
    epoch: bool = False,
) -> list[Violation]:
    """Return the violations on one workload: in the gradient, in a step or an epoch, and in modified inputs.

    `x` (N, n_0) and `y` (N, n_L) are one mini-batch, or with `epoch` the data set, in the implementation's dtype. Of a
    long epoch, only the first EPOCH_STEPS mini-batches and a last one as short as the real one are checked. Afterwards
    the implementation is loaded with `parameters` again. Exceptions of the implementation propagate if nothing was
    wrong before; a dtype without tolerance is a ValueError.
    """
    batch_size = implementation.batch_size if epoch else len(x)
    if len(x) > EPOCH_STEPS * batch_size:
        examples = EPOCH_STEPS * batch_size + len(x) % batch_size
        x, y = x[:examples], y[:examples]
    order = np.random.default_rng(0).permutation(len(x)) if epoch else np.arange(len(x))
    trial = Trial(
        type(implementation),
        implementation.dtype.name,
        implementation.threads,
        Network(implementation.sizes, batch_size, len(x)),
        learning_rates=(learning_rate,),
        epoch_rate=learning_rate,
        instance=implementation,
    )
    trial.parameters, trial.x, trial.y, trial.order = parameters, x, y, order
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = _wrong_on_workload(trial, Watch(parameters, x=x, y=y, order=order), "epoch-order" if epoch else "step")
    implementation.load(parameters)
    return wrong


def _wrong_on_workload(trial: Trial, watch: Watch, steps: str) -> list[Violation]:
    """Return what the checks find in the gradient and in the steps; nothing else where inputs were modified."""
    wrong: list[Violation] = []
    for entry in (named_check("gradient"), named_check(steps)):
        errors: list[str] = []
        try:
            errors += [error for error in entry.function(trial) if error]
        except Exception:
            if not wrong:
                raise
            break  # what is wrong already may have led to it
        modified = watch.modifications()
        if modified:  # then the reference was computed from other inputs
            unchanged = named_check("inputs-unchanged")
            return [Violation(unchanged.name, modified, inputs_modified(modified), unchanged.promise)]
        if errors:
            wrong.append(replace(_violation_of(entry, trial, errors), setting=""))  # the workload is known
    return wrong
