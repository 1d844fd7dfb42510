"""Every example conforms to the contract, by the command that it names."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from impls import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
Backprop = Callable[..., tuple[int, str, str]]


@pytest.mark.slow("the whole conformance kit, in a worker")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_conforms(backprop: Backprop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    match = re.search(r"^backprop (verify examples/\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert match, f"{path.name}: expected a line `backprop verify examples/…` in its docstring"
    status, out, errors = backprop(*shlex.split(match[1]), "--examples", 20)
    assert (status, errors) == (0, "")
    assert "conforms" in out
