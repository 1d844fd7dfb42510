"""The gate: the checks of the kit that an implementation must pass on the very workload that is timed next."""

from dataclasses import replace

import numpy as np

from impls.conformance.comparison import Watch
from impls.conformance.kit import named_check, violation_of, without_warnings
from impls.conformance.trial import Given, Trial
from impls.conformance.violation import Network, Violation, inputs_modified
from impls.interface import Array, Implementation, Parameters

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
        given=Given(implementation, parameters, x, y, order),
    )
    with without_warnings():
        violations = _violations(trial, Watch(parameters, x=x, y=y, order=order), "epoch-order" if epoch else "step")
    implementation.load(parameters)
    return violations


def _violations(trial: Trial, watch: Watch, steps: str) -> list[Violation]:
    """Return what the checks find in the gradient and in the steps; nothing else where inputs were modified."""
    violations: list[Violation] = []
    for check in (named_check("gradient"), named_check(steps)):
        errors: list[str] = []
        try:
            errors += [error for error in check.function(trial) if error]
        except Exception:
            if not violations:
                raise
            break  # what is wrong already may have led to it
        modified = watch.modifications()
        if modified:  # then the reference was computed from other inputs
            unchanged = named_check("inputs-unchanged")
            return [Violation(unchanged.name, modified, inputs_modified(modified), unchanged.promise)]
        if errors:
            violations.append(replace(violation_of(check, trial, errors), setting=""))  # the workload is known
    return violations
