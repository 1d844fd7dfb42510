"""Tests that need what is not everywhere: skipped with the reason, or failed where BACKPROP_REQUIRE names it."""

import os
from typing import NoReturn

import pytest


def needs(what: str, reason: str | None) -> pytest.MarkDecorator:
    """Return the mark that skips tests for a reason, if any; not where BACKPROP_REQUIRE names what they need."""
    return pytest.mark.skipif(reason is not None and not _is_required(what), reason=str(reason))


def skip(what: str, reason: str) -> NoReturn:
    """Skip a test for want of something, or fail if BACKPROP_REQUIRE names it: CI must not pass without."""
    if _is_required(what):
        pytest.fail(reason)
    pytest.skip(reason)


def _is_required(what: str) -> bool:
    return what in os.environ.get("BACKPROP_REQUIRE", "").split(",")
