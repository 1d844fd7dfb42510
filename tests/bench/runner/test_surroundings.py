"""What a run may find: no home, no locale, a checkout that cannot be written to, another run beside it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import BACKPROP, QUICK, run_backprop

from bench.analysis.results_files import read
from impls import ROOT

WHOLE = {"results.json", "speedups.md", "speedups.png", "peak.png", "report.html"}
CAN_MOUNT = (
    shutil.which("unshare") is not None and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0
)


@pytest.mark.slow("runs a benchmark")
def test_no_home_no_locale_and_a_path_of_many_letters(tmp_path: Path) -> None:
    folder = tmp_path / "mit Lücke и 字"
    folder.mkdir()
    command = ("bench", *QUICK, "--impl=in_place", "--results=hier drüben")
    done = run_backprop(*command, folder=folder, environment={"PATH": os.defpath, "LC_ALL": "C"})
    assert done.returncode == 0, done.stdout + done.stderr
    out = folder / "hier drüben"
    assert {path.name for path in out.iterdir()} == WHOLE
    assert [row.outcome for row in read(out / "results.json").rows] == ["ok"] * 3
    assert [path.name for path in folder.iterdir()] == ["hier drüben"]


@pytest.mark.slow("runs a benchmark")
@pytest.mark.skipif(not CAN_MOUNT, reason="nothing can be mounted here")
def test_a_checkout_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Nor the home: with Numba, which keeps what it compiled in one of the two if it can."""
    mounted = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" 2>/dev/null && "$@"'
    command = ["unshare", "-m", "sh", "-c", mounted, str(ROOT), str(BACKPROP), "bench", *QUICK, "--impl=numba"]
    no_home = os.environ | {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    done = subprocess.run([*command, "--results=out"], cwd=tmp_path, env=no_home, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.outcome for row in read(tmp_path / "out" / "results.json").rows] == ["ok"] * 3


# --- Another NumPy -----------------------------------------------------------------------------------------------

OTHERS = {
    "that is broken": (
        "raise ImportError('no\\nC extension')",
        r"one that cannot be imported \(ImportError: no C extension\)",
    ),
    "that is too old": ("__version__ = '1.26.4'", r"1\.26\.4"),
}


def numpy_in(folder: Path, text: str) -> Path:
    """Make a package of that name; return the folder that it is in."""
    (folder / "numpy").mkdir()
    (folder / "numpy" / "__init__.py").write_text(text)
    (folder / "numpy" / "typing.py").touch()
    return folder


@pytest.mark.parametrize("other", OTHERS)
def test_another_numpy_on_the_path_is_told_in_one_line(other: str, tmp_path: Path) -> None:
    text, words = OTHERS[other]
    environment = os.environ | {"PYTHONPATH": str(numpy_in(tmp_path, text))}
    done = run_backprop("bench", environment=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.match(rf"backprop: error: expected NumPy 2 or newer, found {words}: {tmp_path}/numpy/__init__.py, ", line)
    assert line.endswith("; unset PYTHONPATH or take that folder out of it")
