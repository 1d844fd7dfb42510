"""Errors that the user can mend."""


class UserError(Exception):
    """An error that the user can mend; the message is one clear line."""

    exit_status = 2
