"""Rows that do what no row should, all in one run: each costs only itself, and the results of others are whole.

Nothing that a row started is left, no file either, and no control character reaches the terminal.
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import kill, of_run

from bench.analysis.results_files import read
from bench.records import Results

BACKPROP = Path(sys.executable).with_name("backprop")
ROW = """
import atexit, functools, os, resource, signal, sys, threading, time
import numpy as np
from impls.batched_2d import Batched2D

class Hostile(Batched2D):
    calls = 0

    def step(self, batch, learning_rate):
        super().step(batch, learning_rate)
        type(self).calls += 1
        if self.calls == 3:
            self.attack()

    def attack(self):
        pass

"""
SLEEPER = "os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)'])"
METHODS = {  # the body of `attack`, and the outcomes that there may be
    "closes standard output": ("os.close(1)", {"ok", "crashed"}),
    "closes all and goes on": ("os.closerange(0, 256); time.sleep(600)", {"crashed"}),
    "forks": ("if os.fork() == 0: time.sleep(600)", {"ok", "crashed", "incorrect"}),
    "starts a session and dies": (
        f"if os.fork() == 0:\n            os.setsid()\n            {SLEEPER}\n        os._exit(3)",
        {"crashed"},
    ),
    "raises": ("raise RuntimeError('$\\\\frac{$ \\x1b[31m \\x07 <script> \\u6c49 ' * 3000)", {"crashed"}),
    "recurses in C": (
        "sys.setrecursionlimit(1 << 30); repr(functools.reduce(lambda x, _: [x], [0] * 9**6))",
        {"crashed"},
    ),
    "fills its memory": (
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); x = [np.ones(1 << 24) for _ in range(40)]",
        {"crashed"},
    ),
    "writes 100 MB": ("[print('x' * (1 << 20), file=f) for f in (sys.stdout, sys.stderr) for _ in range(50)]",
                      {"ok", "timed out", "skipped (too slow)"}),
    "writes on all descriptors": ("[os.write(d, b'x' * 4096) for d in range(20) if not attempt(d)]", {"ok", "crashed"}),
    "gives half a reply": (
        "[os.write(d, b'{\"reply\": \"ta') for d in range(3, 20) if not attempt(d)]; os._exit(0)",
        {"crashed"},
    ),
    "kills itself with a signal of no name": ("os.kill(os.getpid(), signal.SIGRTMIN + 6)", {"crashed"}),
    "changes its surroundings": (
        "os.chdir('/'); os.umask(0o777); os.environ.clear(); signal.alarm(3600); os.nice(1)", {"ok"}
    ),
    "leaves NaN": ("self.weights[0][:] = np.nan; type(self).calls = 2", {"incorrect", "incorrect after timing"}),
    "hangs as it ends": ("atexit.register(time.sleep, 600)", {"ok"}),
}  # fmt: skip
FILES = {  # what is appended to the row's file
    "hangs as it is imported": ("time.sleep(600)", {"timed out"}),
    "exits as it is imported": ("sys.exit(0)", {"crashed"}),
    "hangs as it is closed": ("Hostile.close = lambda self: time.sleep(600)", {"ok", "timed out"}),
    "says in 100 kB what built it": (
        "Hostile.build = classmethod(lambda cls: {'$x$\\x1b[31m' * 20_000: '<script>' * 10_000})", {"ok", "crashed"}
    ),
}  # fmt: skip
HELPER = """
def attempt(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return descriptor in (0, 1, 2)
"""


def source(name: str) -> str:
    if name in FILES:
        return f"{ROW}\n{FILES[name][0]}\n"
    return f"{ROW.replace('        pass', f'        {METHODS[name][0]}')}{HELPER}"


class Done(NamedTuple):
    """What is left of the run."""

    said: str
    out: Path
    results: Results
    processes: list[list[str]]
    files: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder, mark = tmp_path_factory.mktemp("hostile"), uuid.uuid4().hex
    out, temporary = folder / "out", folder / "temporary"
    temporary.mkdir()
    rows = []
    for number, name in enumerate([*METHODS, *FILES]):
        path = folder / f"row_{number}.py"
        path.write_text(source(name))
        rows.append(f"--impl={name.replace(' ', '_')}={path}:Hostile")
    command = [str(BACKPROP), "bench", "--workload=20-8-4:16", *rows[:10], "--impl=in_place", *rows[10:]]
    options = ["--generations=2", "--seconds=1", "--time-out=15", "--data=digits", f"--results={out}"]
    found = subprocess.run(
        [*command, *options],
        env=os.environ | {"BACKPROP_MARK": mark, "TMPDIR": str(temporary), "COLUMNS": "120"},
        capture_output=True,
        timeout=580,
        check=False,
    )
    said = (found.stdout + found.stderr).decode()
    left = of_run(mark)
    for process, _ in left:
        kill(process)
    assert (out / "results.json").is_file(), said
    return Done(
        said,
        out,
        read(out / "results.json"),
        [command for _, command in left],
        [path.name for path in temporary.iterdir()],
    )


@pytest.mark.slow("runs a benchmark of 20 rows")
@pytest.mark.parametrize("name", [*METHODS, *FILES])
def test_a_row_costs_only_itself(name: str, done: Done) -> None:
    row = done.results.row("20-8-4:16", name.replace(" ", "_"))
    assert row is not None
    assert row.outcome in (METHODS | FILES)[name][1], (row.outcome, row.reason)


@pytest.mark.slow("runs a benchmark of 20 rows")
def test_the_others_are_whole(done: Done) -> None:
    for label in ("per_example", "control", "in_place"):
        row = done.results.row("20-8-4:16", label)
        assert row is not None
        assert (row.outcome, row.reason) == ("ok", "")
        assert row.seconds is not None
        assert label in done.said
    assert {path.name for path in done.out.iterdir()} >= {"speedups.png", "speedups.md", "peak.png", "report.html"}


@pytest.mark.slow("runs a benchmark of 20 rows")
def test_nothing_is_left_and_nothing_reaches_the_terminal(done: Done) -> None:
    assert done.processes == []
    assert done.files == []
    assert not [letter for letter in done.said if not letter.isprintable() and letter != "\n"]
