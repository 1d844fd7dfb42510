"""The kit accepts correct codes as people write them: every usual sigmoid, and ten ways to write the network."""

import numpy as np
import pytest
from public_codes import CODES
from sigmoids import SIGMOIDS, Sigmoid, tanh, with_sigmoid

from impls.conformance import check
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
