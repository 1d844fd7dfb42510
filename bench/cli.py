"""The command line, `backprop`: how it ends. It imports nothing itself: a Ctrl-C may fall into any import."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; tell an error that the user can mend in one line, unless --debug is given."""
    debug = "--debug" in sys.argv
    try:
        from bench.output import standard_output

        with standard_output() as output:
            status = _run(debug)
        if output.error is not None and not isinstance(output.error, BrokenPipeError):  # a reader that left is no error
            status = _tell(f"the output cannot be written: {output.error.strerror}", status or 1)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        if debug:
            raise
        hidden = _follows_an_interrupt(error)
        status = INTERRUPTED if hidden else _tell_fault(error)
    if status == INTERRUPTED:
        print("backprop: interrupted", file=sys.stderr)
    sys.exit(status)


def _run(debug: bool) -> int:
    """Run the command line and return its exit status."""
    import click

    from bench.numpy_check import check_numpy
    from bench.table_of_commands import cli
    from impls.errors import UserError
    from impls.needs import in_checkout

    if not in_checkout():
        message = (
            "this is an installed copy; backprop-bench is used from a checkout: clone it, then run `make bench` there"
        )
        return _tell(message, UserError.exit_status)
    try:
        check_numpy()
        status = cli.main(standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _tell(error.format_message(), error.exit_code)
    except UserError as error:
        if debug:
            raise
        return _tell(str(error), error.exit_status)
    return status if isinstance(status, int) else 0


def _follows_an_interrupt(error: BaseException | None) -> bool:
    """Return whether an error was raised while Ctrl-C was being handled: half-imported modules raise all sorts."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _tell_fault(error: Exception) -> int:
    from impls.tracebacks import in_words

    return _tell(f"{in_words(error)}; --debug shows the whole traceback", 1)


def _tell(message: str, status: int) -> int:
    from impls.text import one_line

    print(f"backprop: error: {one_line(message)}", file=sys.stderr)
    return status
