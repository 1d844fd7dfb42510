"""Tests that need what is not everywhere."""

import os

import pytest


def needs(what: str, reason: str | None) -> pytest.MarkDecorator:
    """Return the mark that skips tests for a reason, if any; not where BACKPROP_REQUIRE names what they need."""
    required = what in os.environ.get("BACKPROP_REQUIRE", "").split(",")
    return pytest.mark.skipif(reason is not None and not required, reason=str(reason))
