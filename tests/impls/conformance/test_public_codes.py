"""The kit accepts correct codes as people write them: every usual sigmoid, and ten ways to write the network."""

import re
from pathlib import Path

import numpy as np
import public_codes_in_parts  # noqa: F401 (it adds to CODES)
import pytest
from conftest import Backprop
from public_codes import CODES
from sigmoids import SIGMOIDS, Sigmoid, tanh, with_sigmoid

from bench.analysis.results_files import read
from impls import ROOT
from impls.conformance.kit import check
from impls.interface import Implementation

DTYPES = ("float64", "float32")

# The kit judges NumPy's warnings. Here pytest would make an error of each, as when `logaddexp` is given a NaN.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigmoid", SIGMOIDS.values(), ids=SIGMOIDS)
def test_each_sigmoid_is_accurate(sigmoid: Sigmoid, dtype: str) -> None:
    z = np.linspace(-80, 80, 4001, dtype=dtype).reshape(1, -1)
    wide = z.astype(np.longdouble)
    expected = 1 / (1 + np.exp(-wide))
    a = sigmoid(z)
    assert a.dtype == dtype
    assert np.max(np.abs(a / expected - 1)) < (1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigmoid", [*SIGMOIDS.values(), tanh], ids=[*SIGMOIDS, "tanh"])
def test_each_sigmoid_conforms(sigmoid: Sigmoid, dtype: str) -> None:
    assert check(with_sigmoid(sigmoid), dtypes=(dtype,), threads=(1,)) == []


@pytest.mark.parametrize("code", CODES)
def test_each_public_code_conforms(code: type[Implementation]) -> None:
    assert check(code, DTYPES, threads=(1,)) == []


@pytest.mark.slow("starts workers")
def test_a_public_code_with_step_alone_is_timed(backprop: Backprop, tmp_path: Path) -> None:
    code = ROOT / "tests" / "support" / "public_codes.py"
    options = ("--workload=book", "--generations=1", "--seconds=0.1", f"--results={tmp_path}", "--data=digits")
    status, out, _ = backprop("bench", f"--impl={code}:UpdateInPlace", *options)
    assert status == 0
    result = read(tmp_path / "results.json").row("book", "UpdateInPlace")
    assert result is not None
    assert (result.outcome, result.timed) == ("ok", True), out


@pytest.mark.slow("the whole conformance kit, in a worker")
def test_the_warnings_of_a_correct_code_are_a_remark(backprop: Backprop) -> None:
    code = ROOT / "tests" / "support" / "public_codes.py"
    status, out, _ = backprop("verify", f"{code}:UpdateInPlace", "--examples", 0)
    conforms, remark, *cure = out.splitlines()
    assert (status, conforms) == (0, "UpdateInPlace: conforms")
    assert re.fullmatch(r"  remark   RuntimeWarning: overflow encountered in exp \(public_codes\.py:\d+\)", remark)
    assert "scipy.special.expit" in " ".join(cure)
