"""Whether the result is there when a call returns: a row that hands its work on and returns is timed at hand-over.

Reading the parameters has to wait for whatever still computes them. It is timed twice, each time after one call: at
once, and after a pause that is long enough for the work to end. What it takes longer at once is work that the
clock of the call did not see. Both follow a call, so that the caches hold the same, and of both the shortest of
several repeats counts, so that a disturbance has to hit all of them.
"""

import time
from collections.abc import Callable

UNFINISHED = 0.2  # the largest share of a synchronous row's call that can be noise
SHORTEST_PAUSE = 0.002  # seconds
SLOW = 0.01  # seconds


def unfinished_share(call: Callable[[], object], result: Callable[[], object]) -> float:
    """Return which share of the work of `call`, from 0 to 1, goes on after it returned; `result` waits for its end."""
    result()
    first = _seconds(call) + _seconds(result)
    pause = max(SHORTEST_PAUSE, 2 * first)
    repeats = 7 if first < SLOW else 2  # a disturbance does not hide a call that long
    calls, at_once, later = [], [], []
    for _ in range(repeats):
        calls.append(_seconds(call))
        at_once.append(_seconds(result))
        call()
        time.sleep(pause)
        later.append(_seconds(result))
    waited = max(0.0, min(at_once) - min(later))
    return waited / (min(calls) + waited)


def asynchronous(call: Callable[[], object], result: Callable[[], object]) -> str:
    """Return in words that `call` returns before its work is done, "" if it does not; one trial of three clears it."""
    for _ in range(3):
        share = unfinished_share(call, result)
        if share <= UNFINISHED:
            return ""
    return f"{share:.0%} of the work is done after the call has returned"


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
