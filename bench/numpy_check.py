"""Whether the NumPy that Python finds can be used: another one on PYTHONPATH hides the one that was installed here."""

import importlib.util
import sys
from pathlib import Path

from impls.errors import UserError
from impls.text import one_line

MIN_VERSION = 2  # as in pyproject.toml
MAX_ERROR = 200  # letters of an error of NumPy's own


def check_numpy() -> None:
    """Raise UserError if NumPy is found outside of this environment and cannot be used. Imports it only if it is."""
    spec = importlib.util.find_spec("numpy")
    if spec is None or spec.origin is None or Path(spec.origin).is_relative_to(sys.prefix):
        return
    try:
        import numpy
        import numpy.typing

        found = numpy.__version__
        if int(found.partition(".")[0]) >= MIN_VERSION:
            return
    except Exception as error:  # whatever the import of another NumPy raises
        found = f"one that cannot be imported ({type(error).__name__}: {one_line(str(error))[:MAX_ERROR]})"
    raise UserError(
        f"expected NumPy {MIN_VERSION} or newer, found {found}: {spec.origin}, which is not in this environment, "
        f"{sys.prefix}; unset PYTHONPATH or take that folder out of it"
    )
