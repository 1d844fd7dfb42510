"""Whether an implementation meets the contract: an oracle, a short check before timing, and a whole kit of checks.

    oracle           gradients and epochs in float64
    comparison       tolerances, and comparisons with the oracle's arrays
    disturbance      how far rounding may move a right result
    backprop         backpropagation whose parts can be replaced, and the ordinary mistakes in each part
    shapes           results in another form than the contract's
    scales           multiples of the right result, and what they tell
    fit              whether a result is what a mistake would have computed
    step_mistakes    ordinary mistakes in steps and epochs
    shares           sums in which some examples do not count as they should
    violation        `Violation`: what is reported
    trial            what one check runs on, and the likely mistake of an implementation
    result_checks    checks of gradients, steps and epochs
    contract_checks  checks of side effects, memory of its own, and the life cycle
    refusal_checks   checks that what does not fit is refused
    kit              `check`: the table of all checks, run over networks, dtypes and numbers of threads
    gate             `check_workload`: the checks of the kit on the workload that is timed next
    model            what an implementation must do, call by call
    program          random sequences of calls, written as programs
    exploration      `explore`: random programs, and the shortest that fails

`check_workload` and `check` return all violations and do not stop at the first. A module imports only those above it,
and the names below import theirs when they are first used: whoever compares arrays does not load the kit.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from impls.conformance.comparison import TOLERANCES as TOLERANCES
    from impls.conformance.exploration import explore as explore
    from impls.conformance.gate import EPOCH_STEPS as EPOCH_STEPS
    from impls.conformance.gate import check_workload as check_workload
    from impls.conformance.kit import CHECKS as CHECKS
    from impls.conformance.kit import check as check
    from impls.conformance.kit import first_violation as first_violation
    from impls.conformance.kit import numerical_warnings as numerical_warnings
    from impls.conformance.oracle import oracle_epoch as oracle_epoch
    from impls.conformance.oracle import oracle_gradients as oracle_gradients
    from impls.conformance.violation import Violation as Violation
else:
    _MODULES = {
        "TOLERANCES": "comparison",
        "explore": "exploration",
        "EPOCH_STEPS": "gate",
        "check_workload": "gate",
        "CHECKS": "kit",
        "check": "kit",
        "first_violation": "kit",
        "numerical_warnings": "kit",
        "oracle_epoch": "oracle",
        "oracle_gradients": "oracle",
        "Violation": "violation",
    }

    def __getattr__(name: str) -> object:  # hidden from mypy, which would then take every name for defined
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
