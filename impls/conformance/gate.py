"""The gate: the short check of an implementation on the very workload that is timed next, in the same process."""

import numpy as np
from threadpoolctl import threadpool_limits

from impls.conformance.comparison import Watch, gradient_errors, parameter_errors, type_errors
from impls.conformance.oracle import oracle_epoch, oracle_gradients
from impls.conformance.violation import Violation, inputs_modified
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
    the implementation is loaded with `parameters` again. Exceptions of the implementation propagate; a dtype without
    tolerance is a ValueError.
    """
    dtype = implementation.dtype.name
    batch_size = implementation.batch_size if epoch else len(x)
    if len(x) > EPOCH_STEPS * batch_size:
        examples = EPOCH_STEPS * batch_size + len(x) % batch_size
        x, y = x[:examples], y[:examples]
    order = np.random.default_rng(0).permutation(len(x)) if epoch else np.arange(len(x))
    first = slice(0, batch_size)
    with _one_blas_thread():
        expected_gradient = oracle_gradients(parameters, x[first], y[first], implementation.cost)
        expected = oracle_epoch(parameters, x, y, order, batch_size, learning_rate, implementation.cost)
    watch = Watch(parameters, x=x, y=y, order=order)

    implementation.load(parameters)
    gradient = implementation.gradients(implementation.prepare(x[first], y[first]))
    input_error = watch.modifications()

    implementation.load(parameters)
    if epoch:
        implementation.epoch(implementation.prepare_data(x, y), order, learning_rate)
    else:
        implementation.step(implementation.prepare(x, y), learning_rate)
    after = implementation.parameters()
    input_error = input_error or watch.modifications()

    with _one_blas_thread():
        gradient_error = gradient_errors(gradient, expected_gradient, dtype) or type_errors(gradient, dtype)
        step_error = parameter_errors(after, parameters, expected, len(x), dtype) or type_errors(after, dtype)
        why_gradient = why_step = ""
        if (gradient_error or step_error) and not input_error:
            from impls.conformance.diagnosis import diagnose, diagnose_steps  # used on failure only

            cost = implementation.cost
            batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
            if gradient_error:
                why_gradient = diagnose(gradient, parameters, x[first], y[first], cost, batch_size=batch_size)
            if step_error and not why_gradient:  # which explains the step, too
                why_step = diagnose_steps(
                    after, parameters, x, y, [batches], learning_rate, cost, batch_size=batch_size
                )

    implementation.load(parameters)
    found = [
        Violation("gradient", gradient_error, why_gradient),
        Violation("epoch" if epoch else "step", step_error, why_step),
        Violation("inputs-unchanged", input_error, inputs_modified(input_error)),
    ]
    return [violation for violation in found if violation.found]


def _one_blas_thread() -> threadpool_limits:
    """Limit NumPy's BLAS to one thread: others would keep spinning and disturb the implementation's own threads."""
    return threadpool_limits(limits=1, user_api="blas")
