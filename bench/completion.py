"""What the shell completes: the names of rows, workloads and sweeps."""

import click
from click.shell_completion import CompletionItem

from impls.registry import entries


def rows(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the rows whose names begin like that; if none does, the shell completes a file's name."""
    known = [(name, entry.summary) for name, entry in entries().items() if name.startswith(incomplete)]
    return [CompletionItem(name, help=summary) for name, summary in known] or [CompletionItem(incomplete, type="file")]


def values(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the values of an option of `backprop bench` that begin like that; the options themselves are pytest's."""
    from bench.problem.workloads import default_workloads, sweeps

    option = next((word for word in reversed(context.params[parameter.name or ""] or ()) if word != "="), "")
    if option == "--impl":
        return rows(context, parameter, incomplete)
    names = [*default_workloads()] if option == "--workload" else [*sweeps()] if option == "--sweep" else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
