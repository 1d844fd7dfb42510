"""A process that waits for the end of this one, however it ends, and then does something."""

import subprocess
import sys
from pathlib import Path


def start_watcher(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    """Start a bare Python with these arguments; its input ends when this process does. Raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends this process by its group or its terminal does not end that one
    )
