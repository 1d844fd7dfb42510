"""What is shown of an exception: the line of the implementation where it was raised, and the whole traceback."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench.conditions import MAX_REASON
from bench.records import Outcome
from bench.runner.process import WorkerFailed
from bench.worker.timing import time_calls
from impls.support.loading import Target, load_target
from impls.support.tracebacks import MAX_LINES, MAX_MESSAGE, frames, in_words, shortened, whole

ADAPTER = """\
import net
from impls.interface import Implementation


class Mine(Implementation):
    def gradients(self, batch):
        return net.backward(self, batch)
"""
INDEX_ERROR = "IndexError: list index out of range"
NOT_SQUARE = "LinAlgError: 1-dimensional array given. Array must be at least two-dimensional"
FAILS = "def backward(network, batch):\n    return [][3]\n"
# Of net.py: its source, the one line, the last frame.
CASES = {
    "in another file": (
        FAILS,
        f"{INDEX_ERROR} (net.py:2)",
        "net.py:2, in backward: return [][3]",
    ),
    "within an installed package": (
        """\
import numpy as np
def backward(network, batch):
    return np.linalg.cholesky(np.ones(3))
""",
        f"{NOT_SQUARE} (net.py:3)",
        "net.py:3, in backward: return np.linalg.cholesky(np.ones(3))",
    ),
    "called back by an installed package": (
        """\
import numpy as np
def rows(row):
    return [][3]

def backward(network, batch):
    return np.apply_along_axis(rows, 0, np.ones(3))
""",
        f"{INDEX_ERROR} (net.py:3)",
        "net.py:3, in rows: return [][3]",
    ),
    "within the contract": (
        """\
def backward(network, batch):
    return network.load(([], []))
""",
        "ValueError: parameters: expected 1 layers, got 0 weights, 0 biases (net.py:2)",
        "net.py:2, in backward: return network.load(([], []))",
    ),
    "with a cause": (
        """\
def inner():
    return [][3]

def backward(network, batch):
    try:
        inner()
    except IndexError as error:
        raise RuntimeError('no gradient') from error
""",
        f"RuntimeError: no gradient, caused by {INDEX_ERROR} (net.py:2)",
        "net.py:2, in inner: return [][3]",
    ),
    "with a cause of a package": (
        """\
import numpy as np
def backward(network, batch):
    try:
        np.linalg.inv(np.ones(3))
    except ValueError as error:
        raise RuntimeError('no gradient') from error
""",
        f"RuntimeError: no gradient, caused by {NOT_SQUARE} (net.py:4)",
        "net.py:4, in backward: np.linalg.inv(np.ones(3))",
    ),
    "that is its own cause": (
        """\
def backward(network, batch):
    error = RuntimeError('no gradient')
    raise error from error
""",
        "RuntimeError: no gradient (net.py:3)",
        "net.py:3, in backward: raise error from error",
    ),
    "in syntax, while it runs": (
        """\
def backward(network, batch):
    import broken
""",
        "SyntaxError: '[' was never closed (broken.py:2)",
        "broken.py:2, in <module>: x = [",
    ),
    "without a message": (
        """\
def backward(network, batch):
    assert network.sizes == ()
""",
        "AssertionError: no message (net.py:2)",
        "net.py:2, in backward: assert network.sizes == ()",
    ),
    "whose message cannot be read": (
        """\
class Odd(Exception):
    def __str__(self):
        raise ValueError

def backward(network, batch):
    raise Odd
""",
        "Odd: its message cannot be read: ValueError (net.py:6)",
        "net.py:6, in backward: raise Odd",
    ),
    "whose message is huge": (
        """\
def backward(network, batch):
    raise RuntimeError('\\x1b[31m\\a' + 'long ' * 200_000)
""",
        "RuntimeError: " + ("\ufffd[31m\ufffd" + "long " * 99)[:MAX_MESSAGE] + "… (net.py:2)",
        "net.py:2, in backward: raise RuntimeError('\\x1b[31m\\a' + 'long ' * 200_000)",
    ),
}
Raised = Callable[[Mapping[str, str]], BaseException]


@pytest.fixture
def raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Raised:
    """Return what the harness gets of an implementation that is made of these files, the first with the class Mine."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("net", "broken", "library", "library.net"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that it is gone afterwards …
        monkeypatch.delitem(sys.modules, name)  # … and not there before

    def run(files: Mapping[str, str]) -> BaseException:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            time_calls(load_target(Target(str(tmp_path / next(iter(files))), "Mine"))((2, 1), 1).gradients, (None,), 1)
        return without_first_frame(caught.value)

    return run


def without_first_frame(error: BaseException) -> BaseException:
    """Return an exception without the frame of this file, which is no harness."""
    assert error.__traceback__
    return error.with_traceback(error.__traceback__.tb_next)


@pytest.mark.parametrize("case", CASES)
def test_the_line_shown_is_the_implementations(case: str, raised: Raised) -> None:
    source, words, frame = CASES[case]
    error = raised({"mine.py": ADAPTER, "net.py": source, "broken.py": "\nx = [\n"})
    assert in_words(error).startswith(words)
    assert in_words(error).isprintable()
    assert frames(error)[-1].startswith(frame)
    assert not [line for line in frames(error) if line.startswith(("timing.py", "interface.py", "<"))]


def test_the_whole_traceback_begins_with_the_implementation(raised: Raised, tmp_path: Path) -> None:
    lines = whole(raised({"mine.py": ADAPTER, "net.py": FAILS})).splitlines()
    assert [line for line in lines if "^" not in line] == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path / "mine.py"}", line 7, in gradients',
        "    return net.backward(self, batch)",
        f'  File "{tmp_path / "net.py"}", line 2, in backward',
        "    return [][3]",
        INDEX_ERROR,
    ]


def test_the_whole_traceback_has_causes_notes_and_both_ends(raised: Raised) -> None:
    source = (
        "def even(left):\n    odd(left - 1)\n\ndef odd(left):\n    even(left - 1) if left > 0 else [][3]\n\n"
        "def backward(network, batch):\n    try:\n        even(200)\n    except IndexError as error:\n"
        "        error.add_note('a note of layer 2')\n        raise RuntimeError('no gradient') from error\n"
    )
    lines = whole(raised({"mine.py": ADAPTER, "net.py": source})).splitlines()
    assert lines[1].endswith('net.py", line 9, in backward')
    assert "a note of layer 2" in lines
    assert "The above exception was the direct cause of the following exception:" in lines
    assert lines[-1] == "RuntimeError: no gradient"
    (left_out,) = (line for line in lines if "lines are left out" in line)
    assert int(left_out.split()[1]) > 200
    assert shortened(lines).splitlines() == lines  # it comes from a process that may not be trusted


def test_what_a_worker_says_of_a_failure_is_cleaned_and_shortened() -> None:
    """Whatever the reply holds: an implementation can write one of its own."""
    failure = WorkerFailed(Outcome.CRASHED, "a\x1b[31m\nb" * 10_000, "c\x1b[31m\x85d\n" * 10_000)
    assert str(failure).startswith("a\ufffd[31m ba")
    assert str(failure).isprintable()
    assert len(str(failure)) == MAX_REASON
    lines = failure.details.splitlines()
    assert lines[0] == "c\ufffd[31m"
    assert len(lines) == MAX_LINES
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("net", "words", "place"),
    [
        ("def backward(:\n    pass\n", "SyntaxError: invalid syntax", " (net.py:1)"),
        ("\n\nimport no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", " (net.py:3)"),
        ("import broken\n", "SyntaxError: '[' was never closed", " (broken.py:2)"),
    ],
)
def test_an_error_of_an_import_has_its_file_and_line(net: str, words: str, place: str, raised: Raised) -> None:
    error = raised({"mine.py": ADAPTER, "net.py": net, "broken.py": "\nx = [\n"})
    assert in_words(error).startswith(words)
    assert in_words(error).endswith(place)
    assert "impls/support/loading.py" not in whole(error)


def test_what_the_user_can_mend_is_the_message_alone(raised: Raised) -> None:
    assert in_words(raised({"mine.py": "x = 1\n"})) == "there is no class Mine in mine.py"


def test_an_installed_implementation_is_shown_its_own_package(raised: Raised) -> None:
    """And not the one that it calls, although all frames are in installed packages."""
    folder = "lib/site-packages"
    net = "import numpy as np\n\ndef backward(network, batch):\n    return np.linalg.cholesky(np.ones(3))\n"
    adapter = ADAPTER.replace(
        "import net",
        "import sys\nsys.path.append(__file__.removesuffix('/library/mine.py'))\nimport library.net as net",
    )
    error = raised({f"{folder}/library/mine.py": adapter, f"{folder}/library/net.py": net})
    assert in_words(error).endswith(" (net.py:4)")
    assert [line.partition(",")[0] for line in frames(error)] == ["mine.py:9", "net.py:4"]


def test_without_a_frame_of_the_implementation_the_harness_is_shown(raised: Raised) -> None:
    error = raised(
        {
            "mine.py": "from operator import itemgetter\nfrom impls.interface import Implementation\n\n"
            "class Mine(Implementation):\n    gradients = itemgetter(3)\n"
        }
    )
    assert in_words(error).startswith("TypeError: ")
    assert frames(error)[-1].startswith("timing.py:")
    assert frames(error)[-1].endswith("in time_calls: function(*arguments)")
