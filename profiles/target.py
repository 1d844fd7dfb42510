"""A process that does nothing but a row's steps, for any profiler: `python -m profiles.target in_place`.

Goes on until Ctrl-C or SIGTERM. The number of the process to attach to is printed, after READY, or written to a file
when the row is checked and warm.
"""

import signal
import sys
from pathlib import Path

import click

from bench.files import check_writable
from bench.measurement.process import WorkerFailed
from bench.problem.workloads import parse
from impls.errors import UserError
from impls.registry import find
from profiles.recorder import loop


@click.command()
@click.argument("name", metavar="[LABEL=]NAME|PATH:CLASS")
@click.option("--workload", default="book", show_default=True)
@click.option(
    "--ready", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A file for the process's number."
)
def main(name: str, workload: str, ready: Path | None) -> None:
    """Run the row's steps until Ctrl-C or SIGTERM, after telling the process to attach to.

    With --ready, FILE appears, whole, when the row is warm, and is deleted at the end.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `kill`, too, ends the worker
    try:
        if ready is not None:
            check_writable(ready.parent)
        loop(find(name), parse(workload), ready)
    except KeyboardInterrupt:
        sys.exit(130)
    except (UserError, WorkerFailed) as error:
        print(f"profiles.target: error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))


if __name__ == "__main__":
    main()
