"""`backprop report`: one HTML file of a run."""

from datetime import datetime
from pathlib import Path

import click

from bench.atomic import check_writable, write_whole
from bench.report.page.recordings import RECORDINGS, recorded
from bench.results.files import LATEST, read
from bench.results.history import history
from bench.run import REPORT, RESULTS


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path), metavar="[RESULTS]...")
@click.option("--recordings", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: profiles]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: beside the results]")
def report(results: tuple[Path, ...], recordings: Path | None, out: Path | None) -> None:
    """Write one HTML file that shows a run: what was found, the ladder, speed-ups, the machine, where the time goes.

    It is made from the results and from recordings of their rows alone, holds all that it needs, and asks nothing of
    the network. RESULTS is a results file or the folder of a run; the latest run by default. Of several, the newest is
    shown, with how every row went from run to run.

    \b
    backprop report
    backprop report results/reference/default --recordings=profiles/recordings --out=/tmp/report.html
    """
    from bench.report.page.page import page

    paths = [path / RESULTS if path.is_dir() else path for path in results or (LATEST,)]
    runs = [read(path) for path in paths]
    newest = max(runs, key=lambda run: datetime.fromisoformat(run.date).timestamp())
    target = out or paths[runs.index(newest)].with_name(REPORT)
    check_writable(target.parent)
    write_whole(target, page(newest, recorded(recordings or RECORDINGS), history(runs) if len(runs) > 1 else None))
    click.echo(f"report: {target}")
