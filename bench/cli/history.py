"""`backprop history`: how every implementation went from run to run."""

from pathlib import Path

import click

from bench.analysis.history import History, Trend, history, runs_of
from bench.output.text import margin_text
from bench.run import RUNS
from bench.system.files import check_writable
from impls.support.errors import UserError
from impls.support.text import one_line

LEVELS = "▁▂▃▄▅▆▇█"
BROKEN = "|"


@click.command("history")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER|RESULTS]...")
@click.option("--out", type=click.Path(path_type=Path), help="Draw the charts into this folder.  [default: FOLDER]")
def show_history(paths: tuple[Path, ...], out: Path | None) -> None:
    """Show every implementation's speed-up over all runs of a folder, in the order of their dates.

    FOLDER holds the folders of runs, or is the .benchmarks of pytest-benchmark; results/runs by default.

    A bar stands for a run, from the implementation's lowest speed-up to its highest; `|` is where the machine or the
    versions changed. What is slower and what is noise, `backprop compare` says.

    \b
    backprop history
    backprop history results/reference/default results/reference/all --out=/tmp/charts
    """
    paths = paths or (RUNS,)
    runs, skipped = runs_of(paths)
    if skipped:
        click.echo(f"skipped: {len(skipped)} of {len(skipped) + len(runs)} files; {one_line(skipped[0])}", err=True)
    by_run = history(runs)
    if not by_run.trends:
        raise UserError(
            f"{paths[0]}: expected runs that timed an implementation and its baseline, found none; run it to the end"
        )
    out = out or (paths[0] if paths[0].is_dir() else paths[0].parent)
    check_writable(out)
    click.echo("\n".join(_table(by_run)))
    from bench.output.plots.curves import history_plot  # matplotlib takes half a second
    from bench.output.plots.drawing import save, style

    with style():
        click.echo(f"plot: {save(history_plot(by_run), out / 'history.png')}")


def _table(by_run: History) -> list[str]:
    """Return a line for each implementation on each workload: first and latest speed-up with their intervals, bars."""
    lines = [f"runs: {by_run.runs}; speed-up over the baseline, first and latest"]
    lines += [f"| from {date[:16]}: {changed}" for date, changed in by_run.changes]
    names = [f"{trend.workload} {trend.label}" for trend in by_run.trends]
    for name, trend in zip(names, by_run.trends, strict=True):
        first, latest = (margin_text(trend.speed_ups[end]) for end in (0, -1))
        lines.append(f"{name:{max(map(len, names))}}  {first:>14}  {latest:>14}  {bars(trend)}")
    return lines


def bars(trend: Trend) -> str:
    """Return a bar for each run, between the lowest and the highest speed-up, and breaks between stretches."""
    values = [speed_up.value for speed_up in trend.speed_ups]
    low, reach = min(values), (max(values) - min(values)) or 1.0
    stretches = [[round((speed_up.value - low) / reach * 7) for speed_up in stretch] for stretch in trend.stretches]
    return BROKEN.join("".join(LEVELS[height] for height in heights) for heights in stretches)
