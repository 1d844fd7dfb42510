"""Whether anything traced, checked or debugged the processes that were timed."""

from collections.abc import Iterable, Mapping

from bench.records import Row


def note_on_environment(debugging: Mapping[str, str], keep: str, *, kept: bool) -> list[str]:
    """Return which variables workers were started without, or with where the variable `keep` is set.

    `debugging` are the variables of the environment that trace, check or debug processes, with what each does.
    """
    if not debugging:
        return []
    variables = ", ".join(f"{name} ({effect})" for name, effect in debugging.items())
    if kept:
        return [f"{keep}=1: workers were started with {variables}; their times may be much longer"]
    return [f"workers were started without {variables}; {keep}=1 would keep what was removed"]


def notes_on_tracing(rows: Iterable[Row]) -> list[str]:
    """Return what traced or checked the processes of rows, and whether it was switched off, each with the rows."""
    by_words: dict[str, list[str]] = {}
    started = [row for row in rows if row.processes]
    for row in started:
        for words in row.tracing:
            by_words.setdefault(words, []).append(row.label)
    return [
        f"{'all rows' if len(labels) == len(started) else ', '.join(dict.fromkeys(labels))}: {words}"
        for words, labels in by_words.items()
    ]
