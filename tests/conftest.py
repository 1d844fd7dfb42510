"""What all tests need."""

import os
import signal
import sys
from collections.abc import Callable

import pytest

from bench import cli

# A shell that starts the tests in the background has them ignore SIGINT, nohup SIGHUP, and with them every process that
# they start.
for usual, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if signal.getsignal(getattr(signal, usual)) is signal.SIG_IGN:
        signal.signal(getattr(signal, usual), handler)


def pytest_sessionstart() -> None:
    """Hide pytest-xdist from the benchmarks that tests start: beside others they would not be timed."""
    os.environ.pop("PYTEST_XDIST_WORKER", None)


Backprop = Callable[..., tuple[int, str, str]]


@pytest.fixture
def backprop(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Backprop:
    """Return a function that runs the command line in this process and gives exit status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["backprop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
