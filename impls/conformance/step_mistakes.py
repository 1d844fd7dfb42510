"""Ordinary mistakes in steps and epochs: where each would lead, in float64, and its one sentence.

The first entry that reproduces a wrong result is taken, so the likelier mistakes come first. A function raises
ValueError or IndexError where a network or an epoch does not allow its mistake.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from impls.conformance.backprop import Backprop, Case, Pass, Rows
from impls.conformance.oracle import oracle_gradients
from impls.conformance.scales import FACTORS, Factor, Scale
from impls.interface import Array, Parameters

Gradient = Callable[[Case], Parameters]


@dataclass(frozen=True)
class Descent:
    """Which steps are asked for: epochs of mini-batches, and the learning rate."""

    epochs: Sequence[Sequence[Rows]]
    learning_rate: float

    @property
    def batches(self) -> list[Rows]:
        """Return the mini-batches of all epochs."""
        return [rows for epoch in self.epochs for rows in epoch]


class StepMistake(NamedTuple):
    sentence: str
    parameters: Callable[[Case, Descent], Parameters]  # after the steps


def right_gradient(case: Case) -> Parameters:
    """Return the reference's gradient."""
    return oracle_gradients(case.parameters, case.x, case.y, case.cost)


def descend(
    case: Case,
    batches: Sequence[Rows],
    learning_rate: float,
    gradient: Gradient = right_gradient,
    factors: Callable[[str, int], float] = lambda _kind_and_layer, _examples: 1.0,
    momentum: float = 0.0,
) -> Parameters:
    """Return the parameters after gradient steps; `factors` is of a tensor's name and the number of examples."""
    parameters = case.parameters
    previous = Parameters([0.0 * W for W in parameters.weights], [0.0 * b for b in parameters.biases])
    for rows in batches:
        part = gradient(case.at(parameters).only(rows))
        updated: list[list[Array]] = []
        for kind, tensors, dps, olds in zip(("weights", "biases"), parameters, part, previous, strict=True):
            updated.append([])
            for layer, (p, dp, old) in enumerate(zip(tensors, dps, olds, strict=True)):
                if p.shape != dp.shape:
                    raise ValueError("a gradient of another shape cannot be subtracted")
                factor = factors(f"{kind}[{layer}]", len(rows))
                updated[-1].append(p - learning_rate * factor * (dp + momentum * old))
        previous = Parameters(
            [dp + momentum * old for dp, old in zip(part.weights, previous.weights, strict=True)],
            [dp + momentum * old for dp, old in zip(part.biases, previous.biases, strict=True)],
        )
        parameters = Parameters(*updated)
    return parameters


def _steps(batches: Callable[[Descent], Sequence[Rows]]) -> Callable[[Case, Descent], Parameters]:
    """Return the parameters after other mini-batches than those asked for."""
    return lambda case, descent: descend(case, batches(descent), descent.learning_rate)


def _in_epochs(change: Callable[[Rows, list[Rows]], Sequence[Rows]]) -> Callable[[Case, Descent], Parameters]:
    """Return the parameters where every epoch has other mini-batches, of its order and its own mini-batches."""
    return _steps(
        lambda descent: [rows for epoch in descent.epochs for rows in change(np.concatenate(epoch), list(epoch))]
    )


def _cut(order: Rows, batches: Sequence[Rows]) -> list[Rows]:
    """Cut an order into mini-batches as large as those given."""
    return np.split(order, np.cumsum([len(rows) for rows in batches])[:-1])


def _filled_up(case: Case, descent: Descent) -> Parameters:
    """Fill up the last mini-batch of each epoch with the first examples of its order."""
    batches: list[Rows] = []
    for epoch in descent.epochs:
        order = np.concatenate(epoch)
        filled = np.resize(order, -(-len(order) // case.batch_size) * case.batch_size)
        batches += np.split(filled, len(filled) // case.batch_size)
    return descend(case, batches, descent.learning_rate)


def _without_last(*, smaller: bool) -> Callable[[Case, Descent], Parameters]:
    """Leave out the last mini-batch of each epoch if it is, or is not, smaller than the batch size."""

    def parameters(case: Case, descent: Descent) -> Parameters:
        if any((len(epoch[-1]) < case.batch_size) is not smaller for epoch in descent.epochs):
            raise ValueError("not the kind of epoch this mistake is about")
        if len(descent.batches) == 1 and not smaller:
            raise ValueError("a single step that is left out is a step that is not applied")
        batches = [rows for epoch in descent.epochs for rows in epoch[:-1]]
        return descend(case, batches, descent.learning_rate)

    return parameters


def _short_mean(case: Case, descent: Descent) -> Parameters:
    """Divide the sums of all mini-batches by the batch size."""
    return descend(case, descent.batches, descent.learning_rate, factors=lambda _, examples: examples / case.batch_size)


def _moved(parameters: Parameters, start: Parameters, end: Parameters) -> Parameters:
    """Move parameters by the difference of two others."""
    return Parameters(
        [p + b - a for p, a, b in zip(parameters.weights, start.weights, end.weights, strict=True)],
        [p + b - a for p, a, b in zip(parameters.biases, start.biases, end.biases, strict=True)],
    )


def _at_initial(case: Case, descent: Descent) -> Parameters:
    """Subtract the gradients at the initial parameters of each epoch."""
    parameters = case.parameters
    for epoch in descent.epochs:
        start = parameters
        for rows in epoch:
            parameters = _moved(parameters, start, descend(case.at(start), [rows], descent.learning_rate))
    return parameters


def _unpaired(sorted_x: bool) -> Callable[[Case, Descent], Parameters]:
    """Apply the order to x or to y only."""

    def parameters(case: Case, descent: Descent) -> Parameters:
        after = case.parameters
        for epoch in descent.epochs:
            order = np.concatenate(epoch)
            for rows, stored in zip(epoch, _cut(np.sort(order), epoch), strict=True):
                x, y = (case.x[stored], case.y[rows]) if sorted_x else (case.x[rows], case.y[stored])
                mixed = replace(case.at(after), x=x, y=y)
                after = descend(mixed, [np.arange(len(x))], descent.learning_rate)
        return after

    return parameters


def _shuffled_in_place(descent: Descent) -> list[Rows]:
    """Return the mini-batches when each epoch's order is applied to the data as the one before has left it."""
    result: list[Rows] = []
    left = np.arange(sum(map(len, descent.epochs[0])))
    for epoch in descent.epochs:
        result += [left[rows] for rows in epoch]
        left = left[np.concatenate(epoch)]
    return result


def _looking_ahead(case: Case, descent: Descent) -> Parameters:
    """Take each step with the gradient at the parameters that the step leads to."""

    def gradient(part: Case) -> Parameters:
        return right_gradient(part.at(descend(part, [np.arange(len(part.x))], descent.learning_rate)))

    return descend(case, descent.batches, descent.learning_rate, gradient)


def _one_step_behind(case: Case, descent: Descent) -> Parameters:
    """Take each step with the gradient at the parameters before the last step."""
    behind = parameters = case.parameters
    for rows in descent.batches:
        moved = descend(case.at(behind), [rows], descent.learning_rate)
        behind, parameters = parameters, _moved(parameters, behind, moved)
    return parameters


def _back_through_loaded(case: Case, descent: Descent) -> Parameters:
    """Take delta back through the weights as they were before the first step."""
    loaded = case.parameters.weights

    def error_back(layer: int, done: Pass) -> Array:
        return done.deltas[0] @ loaded[layer + 1]

    return descend(case, descent.batches, descent.learning_rate, Backprop(error_back=error_back).gradient)


def _with_momentum(momentum: float) -> Callable[[Case, Descent], Parameters]:
    return lambda case, descent: descend(case, descent.batches, descent.learning_rate, momentum=momentum)


def scaled_steps(case: Case, descent: Descent) -> Iterator[tuple[str, Parameters]]:
    """Yield the parameters where all steps, those of the biases or those of the weights are multiplied, in words."""
    for subject, prefix in (("every parameter", ""), ("every bias", "biases"), ("every weight", "weights")):
        for factor in FACTORS:

            def factors(name: str, examples: int, prefix: str = prefix, factor: Factor = factor) -> float:
                scale = Scale(examples, case.y.shape[1], case.batch_size, descent.learning_rate)
                return factor.value(scale) if name.startswith(prefix) else 1.0

            yield f"{subject} {factor.step}", descend(case, descent.batches, descent.learning_rate, factors=factors)


STEP_MISTAKES = (
    StepMistake("the last, smaller mini-batch is left out", _without_last(smaller=True)),
    StepMistake("the last mini-batch is left out", _without_last(smaller=False)),
    StepMistake("the last, smaller mini-batch is filled up with the first examples", _filled_up),
    StepMistake("the last, smaller mini-batch is averaged over the whole batch size", _short_mean),
    StepMistake(
        "the order is ignored: the examples are taken as they are stored",
        _in_epochs(lambda order, batches: _cut(np.sort(order), batches)),
    ),
    StepMistake("the mini-batches are taken in reverse", _in_epochs(lambda _, batches: batches[::-1])),
    StepMistake("the order is read from its end", _in_epochs(lambda order, batches: _cut(order[::-1], batches))),
    StepMistake(
        "the inverse of the order is used", _in_epochs(lambda order, batches: _cut(np.argsort(order), batches))
    ),
    StepMistake("x and y are not paired: the order is applied to y only", _unpaired(sorted_x=True)),
    StepMistake("x and y are not paired: the order is applied to x only", _unpaired(sorted_x=False)),
    StepMistake(
        "only the first epoch has an effect", lambda case, d: descend(case, list(d.epochs[0]), d.learning_rate)
    ),
    StepMistake("every epoch goes through the order of the first", _steps(lambda d: [*d.epochs[0]] * len(d.epochs))),
    StepMistake(
        "the data is shuffled in place: the next epoch's order means other examples", _steps(_shuffled_in_place)
    ),
    StepMistake("only the first mini-batch is used", _in_epochs(lambda _, batches: batches[:1])),
    StepMistake("only the last mini-batch is used", _in_epochs(lambda _, batches: batches[-1:])),
    StepMistake("every step uses the first mini-batch", _in_epochs(lambda _, batches: batches[:1] * len(batches))),
    StepMistake("every step uses the last mini-batch", _in_epochs(lambda _, batches: batches[-1:] * len(batches))),
    StepMistake("one step with all examples instead of one for each mini-batch", _in_epochs(lambda order, _: [order])),
    StepMistake(
        "one step for each example instead of one for each mini-batch",
        _in_epochs(lambda order, _: list(order[:, None])),
    ),
    StepMistake("all gradients of an epoch are computed at its initial parameters", _at_initial),
    StepMistake("the gradient is computed at the parameters before the last step", _one_step_behind),
    StepMistake(
        "delta goes back through a copy of the weights that is stale after the first step", _back_through_loaded
    ),
    StepMistake("the step is taken twice", _in_epochs(lambda _, batches: [rows for rows in batches for _ in range(2)])),
    StepMistake("the gradient is computed at the parameters after the step", _looking_ahead),
    StepMistake("the gradients of earlier steps are not cleared: they accumulate", _with_momentum(1.0)),
    StepMistake("momentum: 0.9 of the last step is added to each step", _with_momentum(0.9)),
    StepMistake("momentum: half of the last step is added to each step", _with_momentum(0.5)),
)
