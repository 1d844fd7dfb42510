"""A long run: how far it is, what may end it before its time, and what else the machine did meanwhile."""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench.analysis.notes import note_on_cpus
from bench.records import Note
from bench.runner import machine
from bench.system.cpus import limited_groups, throttled_seconds, usable_cpus

MAX_LINES = 20  # that a run prints where there is no terminal


@contextmanager
def report_progress(console: Console) -> Generator[Callable[[str, float], None]]:
    """Give a function that takes what is being done and the fraction that is finished."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda message, fraction: bar.update(task, completed=fraction, description=message)


def _lines(console: Console) -> Callable[[str, float], None]:
    """Return a function that prints a line for each twentieth of the run."""
    start, printed = time.monotonic(), -1.0

    def report(message: str, fraction: float) -> None:
        nonlocal printed
        if 0 < fraction < 1 and fraction - printed < 1 / MAX_LINES:
            return
        printed = fraction
        left = (time.monotonic() - start) * (1 / fraction - 1) if fraction > 0 else None
        remaining = f", about {left:.0f} s left" if left and fraction < 1 else ""
        with suppress(OSError, SystemExit):  # whoever reads it may have left (rich exits then): that costs no sample
            console.print(f"[{fraction:4.0%}] {message}{remaining}", markup=False, highlight=False, soft_wrap=True)

    return report


@contextmanager
def ended_by_signals(ended: Callable[[], bool]) -> Generator[None]:
    """Take SIGTERM and SIGHUP for Ctrl-C: a batch system's time limit and a closed terminal lose nothing, either.

    Once `ended` is true, signals are ignored: what was finished is being kept.
    """

    def end(_signal: int, _frame: object) -> None:
        if not ended():
            raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # SIGHUP under nohup
    before = {number: signal.signal(number, end) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Conditions:
    """The machine during a run; all but the first two are known at its end."""

    date: datetime
    load_average: float | None
    duration_seconds: float = 0.0
    steal_percent: float | None = None
    other_cpus: float | None = None
    throttled_seconds: float | None = None
    cpus_changed: list[Note] = field(default_factory=list)  # a note, if they did


@contextmanager
def observed() -> Generator[Conditions]:
    """Give the conditions, which are complete afterwards."""
    conditions = Conditions(datetime.now().astimezone(), machine.load_average())
    start, ticks = time.monotonic(), machine.cpu_ticks()
    busy, own = machine.busy_seconds(), machine.own_seconds()
    cpus, groups = usable_cpus(), limited_groups()
    throttled = throttled_seconds(groups)
    yield conditions
    conditions.duration_seconds = time.monotonic() - start
    conditions.steal_percent = machine.steal_percent(ticks, machine.cpu_ticks())
    busy_after = machine.busy_seconds()
    if busy is not None and busy_after is not None:
        others = busy_after - busy - (machine.own_seconds() - own)
        conditions.other_cpus = max(0.0, others) / conditions.duration_seconds
    if groups:
        conditions.throttled_seconds = throttled_seconds(groups) - throttled
    conditions.cpus_changed = note_on_cpus(cpus, usable_cpus())
