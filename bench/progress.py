"""Progress of a long run: a bar on a terminal, plain lines elsewhere, both with the time that remains."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINES = 20  # that a run prints where there is no terminal, at most


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
        if 0 < fraction < 1 and fraction - printed < 1 / LINES:
            return
        printed = fraction
        left = (time.monotonic() - start) * (1 / fraction - 1) if fraction > 0 else None
        remaining = f", about {left:.0f} s left" if left and fraction < 1 else ""
        with suppress(OSError, SystemExit):  # whoever reads it may have left (rich exits then): that costs no sample
            console.print(f"[{fraction:4.0%}] {message}{remaining}", markup=False, highlight=False, soft_wrap=True)

    return report
