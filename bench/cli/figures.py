"""`backprop figures`: what the pages show of the committed results, written again."""

import click
from cogapp import Cog

from impls import ROOT

PAGES = [ROOT / "README.md", ROOT / "profiles" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a page is stale.")
def figures(check: bool) -> int:
    """Run the blocks of Python in README and the notes; bench/pages/figures.py has the functions for them.

    \b
    backprop figures --check
    """
    options = ["--check" if check else "-r", "--verbosity=1", "-P", "-p", "from bench.pages.figures import *"]
    failed: int = Cog().main(["cog", *options, *map(str, PAGES)])
    return 1 if failed else 0
