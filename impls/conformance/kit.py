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
from impls.conformance.tolerance import tolerance
from impls.conformance.trial import CheckFunction, Factory, Trial, located
from impls.conformance.violation import Network, Violation, raised
from impls.interface import Array, Implementation, Parameters
from impls.support.text import one_line


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
    Check("fortran-ordered", "layouts", result_checks.memory_layout(np.asfortranarray), TWO_BATCHES),
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
EPOCH_STEPS = 32  # Mini-batches of the workload's epoch: over thousands, correct implementations diverge by rounding.


def check(
    factory: Factory, dtypes: Sequence[str] = DTYPES, threads: Sequence[int] = THREADS, *, diagnosed: bool = True
) -> list[Violation]:
    """Return every violation of the contract that the kit finds; an exception is a violation, too.

    `factory` is called as factory(sizes, batch_size, dtype, threads) and is normally the class itself. Of `dtypes`,
    only those that it declares are checked. The likely mistakes are looked for if it is to be `diagnosed`, which takes
    seconds. Raises ValueError if no dtype is left, or one that has no tolerance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A correct result is not worse for them: `numerical_warnings` collects them.
        return list(violations(factory, dtypes, threads, diagnosed=diagnosed))


def violations(
    factory: Factory, dtypes: Sequence[str] = DTYPES, threads: Sequence[int] = THREADS, *, diagnosed: bool = True
) -> Iterator[Violation]:
    """Yield the first violation of each check on each network; see `check`."""
    combinations = [(dtype, count) for dtype in _checked_dtypes(factory, dtypes) for count in threads]
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


def _checked_dtypes(factory: Factory, dtypes: Sequence[str]) -> list[str]:
    """Return the dtypes that an implementation declares. Raises ValueError if there are none, or without tolerance."""
    declared = getattr(factory, "dtypes", dtypes)
    checked = [dtype for dtype in dtypes if dtype in declared]
    if not checked:
        raise ValueError(f"dtypes: expected at least one of {declared}, got {tuple(dtypes)}; nothing would be checked")
    for dtype in checked:
        tolerance(dtype)
    return checked


def named_check(name: str) -> Check:
    """Return the check of that name."""
    return next(entry for entry in CHECKS if entry.name == name)


def numerical_warnings(factory: Factory) -> list[str]:
    """Return the warnings of a correct implementation where units are saturated, each once, with file and line.

    With AVX-512, OpenBLAS 0.3.31 multiplies float32 matrices of five columns in wider registers; the unused lanes hold
    leftovers of the stack, and their products are discarded. If a leftover is NaN, NumPy finds the floating-point flag
    "invalid" set and warns although the product is correct: such warnings of dot and matmul are left out.
    """
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn", under="ignore"):
        warnings.simplefilter("always")
        for name in ("saturated", "extreme-input"):
            for dtype in _checked_dtypes(factory, DTYPES):
                entry = named_check(name)
                _violation(entry, Trial(factory, dtype, 1, entry.networks[0]), diagnosed=False)
    recorded = [
        f"{warning.category.__name__}: {one_line(str(warning.message))} "
        f"({Path(warning.filename).name}:{warning.lineno})"
        for warning in caught
        if not re.search("invalid value encountered in (dot|matmul)", str(warning.message))
    ]
    return list(dict.fromkeys(recorded))


def _violation(entry: Check, trial: Trial, *, diagnosed: bool) -> Violation | None:
    """Run one check on one trial; return what is wrong or was raised, None for nothing."""
    before = trial.checksums()
    errors: list[str] = []
    exception = {}
    try:
        errors.extend(located(entry.function(trial)))
    except (Exception, SystemExit) as error:
        exception = raised(error)
        errors.append(exception.pop("error"))
    if not errors:
        return None
    diagnosis = _diagnosis(trial, trial.modified_inputs(before)) if diagnosed else ""
    return replace(_violation_of(entry, trial, errors, diagnosis), **exception)


def _diagnosis(trial: Trial, modified: list[str]) -> str:
    """Return the likely mistake; modified inputs come before all others, which rely on the inputs."""
    if modified:
        return f"a call modifies its inputs: {', '.join(modified)}"
    return likely_mistake(trial.factory, trial.dtype, trial.threads) if trial.wrong_results else ""


def _violation_of(entry: Check, trial: Trial, errors: list[str], diagnosis: str) -> Violation:
    """Return the violation that a check's errors are."""
    setting = "" if trial.instance else str(trial)  # Whoever checks an instance knows the workload.
    rank = trial.network.work, trial.threads, DTYPES.index(trial.dtype)
    return Violation(entry.name, " ".join("; ".join(errors).split()), diagnosis, entry.promise, setting, rank=rank)


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
    network = Network(implementation.sizes, batch_size, len(x))
    dtype, threads = implementation.dtype.name, implementation.threads
    trial = Trial(type(implementation), dtype, threads, network, learning_rate, implementation)
    trial.parameters, trial.x, trial.y = parameters, x, y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = _wrong_on_workload(trial, "epoch-order" if epoch else "step")
    implementation.load(parameters)
    return wrong


def _wrong_on_workload(trial: Trial, steps: str) -> list[Violation]:
    """Return what the checks find in the gradient and in the steps; nothing else where inputs were modified."""
    before = trial.checksums()
    wrong: list[Violation] = []
    for entry in (named_check("gradient"), named_check(steps)):
        try:
            errors = list(located(entry.function(trial)))
        except Exception:
            if not wrong:
                raise
            break  # What is wrong already may have led to it.
        modified = trial.modified_inputs(before)
        if modified:  # The reference was computed from other inputs.
            entry, errors, wrong = named_check("inputs-unchanged"), [contract_checks.was_modified(modified)], []
        if errors:
            wrong.append(_violation_of(entry, trial, errors, _diagnosis(trial, modified)))
        if modified:
            break
    return wrong
