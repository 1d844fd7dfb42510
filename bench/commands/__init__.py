"""The commands of `backprop`: a table, each imported when it is used."""

import importlib

import click

COMMANDS = {  # name: where it is, and what it does
    "bench": ("bench.commands.bench:bench", "Run the benchmark: check, time, plot."),
    "compare": ("bench.commands.compare:compare", "Compare two runs, or two implementations of one run."),
    "data": ("bench.commands.data:data", "Download MNIST."),
    "figures": ("bench.commands.figures:figures", "Write the figures of the reference results into the pages."),
    "history": ("bench.commands.history:show_history", "Show how every row went from run to run."),
    "list": ("bench.commands.list:list_implementations", "List the implementations and whether they can run here."),
    "plot": ("bench.commands.plot:plot", "Draw the plots of a run again."),
    "profile": ("profiles.cli:profile", "Record flamegraphs, or compare two."),
    "report": ("bench.commands.report:report", "Write one HTML file of a run."),
    "scale": ("bench.commands.scale:scale", "Measure scaling over MPI ranks."),
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
    """Backpropagation in many implementations: checked, timed, plotted. To begin with:

    \b
    backprop bench
    backprop verify in_place

    Completion of commands, options and rows in bash (zsh, fish: their names in place of bash):

    \b
    eval "$(_BACKPROP_COMPLETE=bash_source backprop)"
    """
