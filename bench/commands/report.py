"""`backprop report`: one HTML file of a run."""

from pathlib import Path

import click

from bench.atomic import check_writable, write_whole
from bench.report.page.recordings import RECORDINGS, recorded
from bench.results.files import LATEST, read
from bench.run import REPORT, RESULTS


@click.command()
@click.argument("results", type=click.Path(path_type=Path), default=LATEST)
@click.option("--recordings", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: profiles]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: beside the results]")
def report(results: Path, recordings: Path | None, out: Path | None) -> None:
    """Write one HTML file that shows a run: what was found, the ladder, speed-ups, the machine, where the time goes.

    It is made from the results and from recordings of their rows alone, holds all that it needs, and asks nothing of
    the network. RESULTS is a results file or the folder of a run; the latest run by default.

    \b
    backprop report
    backprop report results/reference/default --recordings=profiles/recordings --out=/tmp/report.html
    """
    from bench.report.page.page import page

    path = results / RESULTS if results.is_dir() else results
    found = read(path)
    target = out or path.with_name(REPORT)
    check_writable(target.parent)
    write_whole(target, page(found, recorded(recordings or RECORDINGS)))
    click.echo(f"report: {target}")
