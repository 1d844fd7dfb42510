"""Progress of a long run: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def report_progress(console: Console) -> Generator[Callable[[str, float], None]]:
    """Give a function that takes what is being done and the fraction that is finished."""
    if not console.is_terminal:
        yield lambda message, fraction: console.print(f"[{fraction:4.0%}] {message}", markup=False, highlight=False)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda message, fraction: bar.update(task, completed=fraction, description=message)
