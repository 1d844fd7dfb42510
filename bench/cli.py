"""The command line, `backprop`: a table of commands, each imported when it is used."""

import importlib
import sys

import click

from impls.errors import UserError
from impls.registry import in_checkout

INTERRUPTED = 130
COMMANDS = {  # name: where it is, and what it does
    "bench": ("bench.commands.bench:bench", "Run the benchmark: check, time, plot."),
    "compare": ("bench.commands.compare:compare", "Compare two rows of a run."),
    "data": ("bench.commands.data:data", "Download MNIST."),
    "figures": ("bench.commands.figures:figures", "Write the figures of the reference results into the pages."),
    "list": ("bench.commands.list:list_implementations", "List the implementations and whether they can run here."),
    "plot": ("bench.commands.plot:plot", "Draw the plots of a run again."),
    "profile": ("profiles.cli:profile", "Record flamegraphs, or compare two."),
    "train": ("bench.commands.train:train", "Train a network and print its accuracy."),
    "verify": ("bench.commands.verify:verify", "Check an implementation against the contract."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="backprop-bench")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Backpropagation in many implementations: checked, timed, plotted."""


def main() -> None:
    """Run the command line; tell an error that the user can mend in one line, unless --debug is given."""
    if not in_checkout():
        message = (
            "this is an installed copy; backprop-bench is used from a checkout: clone it, then run `make bench` there"
        )
        sys.exit(_tell(message, UserError.exit_status))
    debug = "--debug" in sys.argv
    try:
        status = cli.main(standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        print("backprop: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        sys.exit(_tell(error.format_message(), error.exit_code))
    except UserError as error:
        if debug:
            raise
        sys.exit(_tell(str(error), error.exit_status))
    except Exception as error:
        if debug:
            raise
        sys.exit(_tell(f"{type(error).__name__}: {error} (--debug shows where)", 1))
    sys.exit(status if isinstance(status, int) else 0)


def _tell(message: str, status: int) -> int:
    print(f"backprop: error: {' '.join(message.split())}", file=sys.stderr)
    return status
