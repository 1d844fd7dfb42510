"""Text of unknown origin: names and messages of rows, files and systems, that must not reach a terminal as they are."""


def one_line(text: str) -> str:
    """Return a text as one line of printable characters: no control characters, no sequences that a terminal obeys."""
    letters = (c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return " ".join("".join(letters).split())


def printable_lines(text: str) -> str:
    """Return a text of several lines with all else that does not print replaced; indentation stays."""
    lines = text.expandtabs(4).splitlines()
    return "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)
