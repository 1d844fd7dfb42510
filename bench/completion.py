"""What the shell completes: the names of rows."""

import click
from click.shell_completion import CompletionItem

from impls.registry import entries


def rows(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the rows whose names begin like that; if none does, the shell completes a file's name."""
    known = [(name, entry.summary) for name, entry in entries().items() if name.startswith(incomplete)]
    return [CompletionItem(name, help=summary) for name, summary in known] or [CompletionItem(incomplete, type="file")]
