"""The commands of `backprop`: each is imported when it is used."""

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


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None if there is none of that name."""
        return _measuring(cmd_name) or _reading(cmd_name)

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

    Completion of commands, options and rows in bash (zsh, fish: their names in place of bash):

    \b
    eval "$(_BACKPROP_COMPLETE=bash_source backprop)"
    """


def _measuring(command: str) -> click.Command | None:
    """Return a command that runs implementations."""
    match command:
        case "bench":
            from bench.cli.bench import bench

            return bench
        case "profile":
            from bench.cli.profile import profile

            return profile
        case "scale":
            from bench.cli.scale import scale

            return scale
        case "train":
            from bench.cli.train import train

            return train
        case "verify":
            from bench.cli.verify import verify

            return verify
    return None


def _reading(command: str) -> click.Command | None:
    """Return a command that reads what there is."""
    match command:
        case "compare":
            from bench.cli.compare import compare

            return compare
        case "data":
            from bench.cli.data import data

            return data
        case "figures":
            from bench.cli.figures import figures

            return figures
        case "history":
            from bench.cli.history import show_history

            return show_history
        case "list":
            from bench.cli.list import list_implementations

            return list_implementations
        case "plot":
            from bench.cli.plot import plot

            return plot
        case "report":
            from bench.cli.report import report

            return report
    return None
