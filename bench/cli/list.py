"""`backprop list`: the implementations."""

import json
import sys

import click
from rich.console import Console
from rich.table import Table

from impls.registry import entries


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_implementations(as_json: bool) -> None:
    """List the implementations and whether they can run here.

    \b
    backprop list --json
    """
    known = [(entry, entry.unavailable()) for entry in entries().values()]
    if as_json:
        content = [
            {"name": entry.name, "available": reason is None, "reason": reason, "summary": entry.summary}
            for entry, reason in known
        ]
        click.echo(json.dumps(content, indent=1))
        return
    table = Table("implementation", "available", "what it is", box=None, pad_edge=False)
    for entry, reason in known:
        table.add_row(entry.name, "yes" if reason is None else f"no: {reason}", entry.summary)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200).print(table)
