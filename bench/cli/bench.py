"""`backprop bench`: the benchmark, which is pytest on the folder `bench/`."""

from pathlib import Path

import click
import pytest

from bench.cli.main import INTERRUPTED
from impls.support.errors import UserError

BENCH = Path(__file__).parent.parent
SHOW = {  # options that ask for pytest-benchmark's own tables
    "-v",
    "-vv",
    "--verbose",
    "--benchmark-sort",
    "--benchmark-columns",
    "--benchmark-group-by",
    "--benchmark-name",
    "--benchmark-verbose",
}
BRIEF = ("--brief", "-q", "--no-header", "--tb=no", "-rN", "--benchmark-quiet", "-o", "console_output_style=classic")
STATUSES: dict[int, int] = {pytest.ExitCode.USAGE_ERROR: 2, pytest.ExitCode.INTERRUPTED: INTERRUPTED}


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def bench(options: tuple[str, ...]) -> int:
    """Check and time the implementations, then draw the plots: pytest on the folder bench/, with little output.

    \b
    --impl=NAME|PATH:CLASS  time only these implementations and the baseline; repeatable; --impl=LABEL=… gives a label
    --all                   the frameworks' implementations, too, and those that cannot run here
    --workload=NAME|SPEC    a workload, such as book or 784-64-10:32:float32:2; repeatable
    --sweep=NAME            batch, batch-grid, width, width-grid, depth, threads,
                            strong, weak, data or dtype
    --data=digits|mnist|DIR what the images are (mnist if BACKPROP_MNIST is set, else digits)
    --generations=N         processes per implementation (10)
    --seconds=S             sampling time per workload (4)
    --precision=1%          go on until every interval is that narrow, for at most …
    --most-seconds=S        … so long (600)
    --budget=S              longest call that an implementation may take (0.1)
    --time-out=S            longest silence of a worker (120)
    --against=REV|DIR       time the implementations of another revision or folder, too, in the same rounds, and compare
    --results=DIR           where the results go (results/runs/DATE-TIME)
    -v                      every column and note, whole tracebacks, and pytest-benchmark's own tables

    All options of pytest and pytest-benchmark work, too. Example:

    \b
    backprop bench --impl=in_place --workload=book
    """
    if options in (("--help",), ("-h",)):
        click.echo(bench.get_help(click.get_current_context()))
        return 0
    if "[" in str(BENCH):
        raise UserError(f"{BENCH}: pytest takes what follows a [ for the name of a test; move the checkout elsewhere")
    arguments = [str(BENCH), "-p", "no:cacheprovider"]
    if "--benchmark-disable" not in options:
        arguments.append("--benchmark-only")
    if not any(option.split("=")[0] in SHOW for option in options):
        arguments += BRIEF
    status = int(pytest.main([*arguments, *options]))
    return STATUSES.get(status, status)
