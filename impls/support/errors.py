"""The one base class of errors that are told to the user in one line."""


class UserError(Exception):
    """An error that the user can mend: its message is one clear line that says what was expected and what to do."""

    exit_status = 2


class RowError(UserError):
    """An implementation that cannot be found or loaded."""


class Unavailable(RowError):
    """An implementation that lacks an optional dependency; the message names it and the command that installs it."""
