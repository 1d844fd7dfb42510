"""`backprop data`: the data sets."""

from pathlib import Path

import click


@click.group()
def data() -> None:
    """The data sets.

    \b
    backprop data fetch
    """


@data.command()
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder (default: the user's cache).")
def fetch(folder: Path | None) -> None:
    """Download MNIST, checked, to the user's cache or to a folder, where no file is ever replaced.

    \b
    backprop data fetch --to=/data/mnist
    """
    from bench.workloads.mnist import fetch as fetch_mnist

    click.echo(f"MNIST is in {fetch_mnist(folder)}")
