"""What all tests need."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from bench.cli import main

# A shell that starts the tests in the background has them ignore SIGINT, nohup SIGHUP, and with them every process that
# they start.
for usual, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if signal.getsignal(getattr(signal, usual)) is signal.SIG_IGN:
        signal.signal(getattr(signal, usual), handler)


def pytest_sessionstart() -> None:
    """Hide pytest-xdist from the benchmarks that tests start: beside others they would not be timed."""
    os.environ.pop("PYTEST_XDIST_WORKER", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that is marked as slow without a reason."""
    for item in items:
        if any(not mark.args for mark in item.iter_markers("slow")):
            raise pytest.UsageError(f'{item.nodeid}: expected a reason, as in @pytest.mark.slow("runs benchmarks")')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test that is marked `alone` run beside no other one of pytest-xdist's workers.

    Whoever waits for the room holds the door: no other test can come in before.
    """
    workers = getattr(item.config, "workerinput", None)
    if workers is None:
        return (yield)
    folder = Path(item.config.option.basetemp).parent
    with (folder / "room").open("w") as room:
        with (folder / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


Backprop = Callable[..., tuple[int, str, str]]


@pytest.fixture
def backprop(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Backprop:
    """Return a function that runs the command line in this process and gives exit status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["backprop", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
