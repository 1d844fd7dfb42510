"""The command line, `backprop`: how it ends. It imports nothing itself: a Ctrl-C may fall into any import."""

import sys

INTERRUPTED = 130
MIN_NUMPY = 2  # as in pyproject.toml


def main() -> None:
    """Run the command line; print an error that the user can fix in one line, unless --debug is given."""
    debug = "--debug" in sys.argv
    try:
        from bench.cli.terminal import standard_output

        with standard_output() as output:
            status = _run(debug)
        if output.error is not None and not isinstance(output.error, BrokenPipeError):  # a reader that left is no error
            status = _fail(f"the output cannot be written: {output.error.strerror}", status or 1)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        if debug:
            raise
        status = INTERRUPTED if _follows_an_interrupt(error) else _fail_unexpectedly(error)
    if status == INTERRUPTED:
        print("backprop: interrupted", file=sys.stderr)
    sys.exit(status)


def _run(debug: bool) -> int:
    """Run the command line and return its exit status."""
    import click

    from bench.cli.commands import cli
    from impls.support.errors import UserError
    from impls.support.needs import in_checkout

    try:
        if not in_checkout():
            raise UserError("this is an installed copy; backprop-bench is used from a checkout: clone it, `make bench`")
        _check_numpy()
        status = cli.main(standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except UserError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_status)
    return status if isinstance(status, int) else 0


def _check_numpy() -> None:
    """Raise UserError if another NumPy on PYTHONPATH hides the one that was installed here and cannot be used.

    Imports it only if it is another one.
    """
    import importlib.util
    from pathlib import Path

    from impls.support.errors import UserError

    spec = importlib.util.find_spec("numpy")
    if spec is None or spec.origin is None or Path(spec.origin).is_relative_to(sys.prefix):
        return
    try:
        import numpy
        import numpy.typing

        version = numpy.__version__
        if int(version.partition(".")[0]) >= MIN_NUMPY:
            return
    except Exception as error:  # whatever the import of another NumPy raises
        version = f"one that cannot be imported ({type(error).__name__}: {str(error)[:200]})"
    raise UserError(
        f"expected NumPy {MIN_NUMPY} or newer, found {version}: {spec.origin}, which is not in this environment, "
        f"{sys.prefix}; unset PYTHONPATH or take that folder out of it"
    )


def _follows_an_interrupt(error: BaseException | None) -> bool:
    """Return whether an error was raised while Ctrl-C was being handled: half-imported modules raise all sorts."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail_unexpectedly(error: Exception) -> int:
    from impls.support.tracebacks import in_words

    return _fail(f"{in_words(error)}; --debug shows the whole traceback", 1)


def _fail(message: str, status: int) -> int:
    """Print an error in one line and return the exit status."""
    from impls.support.text import one_line

    print(f"backprop: error: {one_line(message)}", file=sys.stderr)
    return status
