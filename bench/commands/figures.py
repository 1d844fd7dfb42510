"""`backprop figures`: the figures of the pages, written anew from the reference results."""

import click

from bench.files import write_whole
from bench.report.pages import pages, written
from impls import ROOT


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a page is stale.")
def figures(check: bool) -> int:
    """Write the figures of the reference results into README, notes and profiles/README.

    They stand between markers, <!--= NAME ARGUMENTS --> and <!--/-->; bench/report/pages.py has their names.

    \b
    backprop figures --check
    """
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        made = written(text)
        if made != text:
            stale.append(page)
            if not check:
                write_whole(page, made)
    for page in stale:
        click.echo(f"{'stale' if check else 'written'}: {page.relative_to(ROOT)}")
    return 1 if check and stale else 0
