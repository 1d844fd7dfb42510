"""`backprop report`: one HTML file of a run."""

from pathlib import Path

import click

from bench.analysis.results_files import LATEST, file_of, read
from bench.analysis.scaling import FILE
from bench.analysis.scaling import read as read_scaling
from bench.run import RECORDINGS, REPORT
from bench.system.files import check_writable, write_whole
from impls.support.errors import UserError


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path), metavar="[RESULTS]...")
@click.option("--recordings", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: profiles]")
@click.option(
    "--scaling", type=click.Path(path_type=Path, dir_okay=False), help=f"File of backprop scale.  [default: {FILE}]"
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: beside the results]")
def report(results: tuple[Path, ...], recordings: Path | None, scaling: Path | None, out: Path | None) -> None:
    """Write one HTML file that shows a run: what was found, the ladder, speed-ups, the machine, where the time goes.

    It is made from the results and from recordings of their rows alone, holds all that it needs, and asks nothing of
    the network. RESULTS is a results file or the folder of a run; the latest run by default. Of several, the newest is
    shown, with how every row went from run to run, and the newest one of each machine side by side.

    \b
    backprop report
    backprop report results/reference/default --recordings=profiles/recordings --out=/tmp/report.html
    """
    from bench.output.page.page import page
    from profiles.page import recorded

    paths = [file_of(path) for path in results or (LATEST,)]
    runs = [read(path) for path in paths]
    newest = max(runs, key=lambda run: run.started)
    target = out or paths[runs.index(newest)].with_name(REPORT)
    check_writable(target.parent)
    over_ranks = read_scaling(scaling or FILE) if scaling or FILE.is_file() else None
    if scaling and over_ranks and over_ranks.machine.kind != newest.machine.kind:
        raise UserError(f"{scaling}: measured on {over_ranks.machine.cpu_model}, the run on {newest.machine.cpu_model}")
    write_whole(target, page(newest, recorded(recordings or RECORDINGS), runs, over_ranks))
    click.echo(f"report: {target}")
