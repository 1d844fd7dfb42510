"""A process that does nothing but an implementation's steps, for any profiler: `python -m profiles.target in_place`.

Goes on until Ctrl-C or SIGTERM. When the implementation is checked and warm, prints the number of the process to attach
to.
"""

import signal
import sys

import click

from bench.runner.process import WorkerFailed
from bench.worker import protocol
from bench.workloads.names import parse
from impls.registry import find
from impls.support.errors import UserError
from profiles.recorder import warm_worker

DAY_SECONDS = 24 * 3600.0


@click.command()
@click.argument("name", metavar="[LABEL=]NAME|PATH:CLASS")
@click.option("--workload", default="book", show_default=True)
def main(name: str, workload: str) -> None:
    """Run the implementation's steps until Ctrl-C or SIGTERM, after printing the process to attach to."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `kill`, too, ends the worker
    try:
        with warm_worker(find(name), parse(workload), DAY_SECONDS) as worker:
            print(worker.pid, flush=True)
            worker.ask(protocol.Loop(DAY_SECONDS), protocol.Looped)
    except KeyboardInterrupt:
        sys.exit(130)
    except (UserError, WorkerFailed) as error:
        print(f"profiles.target: error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))


if __name__ == "__main__":
    main()
