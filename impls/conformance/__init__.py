"""Whether an implementation meets the contract: a reference, a short check before timing, and a whole kit of checks.

    violation        `Violation`: what is reported
    reference        gradients and epochs in float64, also perturbed
    tolerance        how far from the reference a result may be, and comparisons
    trial            what one check runs on
    result_checks    checks of gradients, steps and epochs
    contract_checks  checks of side effects, memory of its own, the life cycle, and refusals
    backprop         backpropagation whose parts can be replaced, and the ordinary mistakes in each part
    explanation      whether mistakes explain a result
    diagnosis        `likely_mistake`: the likely mistakes of an incorrect implementation
    kit              the table of all checks, `check`, and `check_workload` on the workload that is timed next
    model            an instance beside the model of what it must do, call by call
    exploration      `explore`: random call sequences, and the shortest that fails

A module imports only those above it.
"""
