"""The implementations that are compared, and the contract that they meet."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the checkout
