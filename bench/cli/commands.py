"""The commands of `backprop`: each is imported when it is used."""

import importlib

import click

COMMANDS = {
    "bench": "Run the benchmark: check, time, plot.",
    "compare": "Compare two runs, or two implementations of one run.",
    "data": "Download MNIST.",
    "figures": "Write the figures of the reference results into the pages.",
    "history": "Show how every implementation went from run to run.",
    "list": "List the implementations and whether they can run here.",
    "plot": "Draw the plots of a run again.",
    "profile": "Record flamegraphs, or compare two.",
    "report": "Write one HTML file of a run.",
    "scale": "Measure scaling over MPI ranks.",
    "train": "Train a network and print its accuracy.",
    "verify": "Check an implementation against the contract.",
}
FUNCTIONS = {"history": "show_history", "list": "list_implementations"}  # that are not called as their commands


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"bench.cli.{cmd_name}"), FUNCTIONS.get(cmd_name, cmd_name)
        )
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="backprop-bench")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Backpropagation in many implementations: checked, timed, plotted. To begin with:

    \b
    backprop bench
    backprop verify in_place

    Completion of commands, options and implementations in bash (zsh, fish: their names in place of bash):

    \b
    eval "$(_BACKPROP_COMPLETE=bash_source backprop)"
    """
