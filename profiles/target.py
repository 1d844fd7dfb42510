"""A process that does nothing but a row's steps, for any profiler: `python -m profiles.target in_place`.

Prints `READY pid` when the row is checked and warm, and goes on until Ctrl-C or SIGTERM.
"""

import signal

import click

from bench.workloads import parse
from profiles.recorder import loop


@click.command()
@click.argument("name", metavar="NAME|PATH:CLASS")
@click.option("--workload", default="book", show_default=True)
def main(name: str, workload: str) -> None:
    """Run the row's steps until Ctrl-C or SIGTERM, after printing READY and the process to attach to."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `kill`, too, ends the worker
    loop(name, parse(workload))


if __name__ == "__main__":
    main()
