"""`backprop history`: how every row went from run to run."""

from pathlib import Path

import click

from bench.files import check_writable
from bench.report.text import margin_text
from bench.results.history import History, Line, history, runs_of
from bench.run import RUNS
from impls.errors import UserError
from impls.needs import backprop_command
from impls.text import one_line

LEVELS = "▁▂▃▄▅▆▇█"
BROKEN = "|"
MOST_SKIPPED = 3  # files of which it is said why


@click.command("history")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER|RESULTS]...")
@click.option("--out", type=click.Path(path_type=Path), help="Draw the charts into this folder.  [default: FOLDER]")
def show_history(paths: tuple[Path, ...], out: Path | None) -> None:
    """Show every row's speed-up over all runs of a folder, in the order of their dates. It draws, and does not judge.

    FOLDER holds the folders of runs, or is the .benchmarks of pytest-benchmark; results/runs by default.

    A bar stands for a run, from the lowest of the row to its highest; `|` is where the machine or the versions changed.
    What is slower and what is noise, `backprop compare` says.

    \b
    backprop history
    backprop history results/reference/default results/reference/all --out=/tmp/charts
    """
    paths = paths or (RUNS,)
    runs = runs_of(paths)
    for words in runs.skipped[:MOST_SKIPPED]:
        click.echo(f"skipped: {one_line(words)}", err=True)
    if runs.skipped[MOST_SKIPPED:]:
        click.echo(f"skipped: {len(runs.skipped) - MOST_SKIPPED} more files", err=True)
    found = history(runs.results)
    if not found.lines:
        given = ", ".join(map(str, paths))
        raise UserError(
            f"{given}: expected runs that timed the baseline and another row, found no speed-up in "
            f"{found.runs} run{'s' * (found.runs > 1)}; make one with: {backprop_command('bench')}"
        )
    out = out or (paths[0] if paths[0].is_dir() else paths[0].parent)
    check_writable(out)
    click.echo("\n".join(_table(found)))
    from bench.report.drawing import save, style  # matplotlib takes half a second
    from bench.report.history_plot import history_plot

    with style():
        for path in save(history_plot(found), out / "history"):
            click.echo(f"plot: {path}")


def _table(found: History) -> list[str]:
    """Return a line a row: its workload, its bars, its first and its latest speed-up with their intervals."""
    lines = [f"{found.runs} run{'s' * (found.runs > 1)}; speed-up over the baseline, first and latest"]
    lines += [f"| from {stretch.date[:16]}: {stretch.changed}" for stretch in found.stretches if stretch.changed]
    names = [(line.workload, line.label) for line in found.lines]
    widths = [max((len(name[column]) for name in names), default=0) for column in (0, 1)]
    for line in found.lines:
        first, latest = (margin_text(line.points[end].speed_up) for end in (0, -1))
        name = f"{line.workload:{widths[0]}}  {line.label:{widths[1]}}"
        lines.append(f"{name}  {first:>14}  {latest:>14}  {bars(line)}")
    return lines


def bars(line: Line) -> str:
    """Return a bar for each run, between the lowest and the highest speed-up, and breaks between stretches."""
    values = [point.speed_up.value for point in line.points]
    low, high = min(values), max(values)
    reach = (high - low) or 1.0
    parts = [
        "".join(LEVELS[round((point.speed_up.value - low) / reach * (len(LEVELS) - 1))] for point in stretch)
        for stretch in line.stretches
    ]
    return BROKEN.join(parts)
