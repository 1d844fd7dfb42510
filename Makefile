# `make bench` and `make test` do all of their own set-up: a virtual environment in .venv, from pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: bench test lint clean

bench: .venv/installed
	$(BIN)/backprop bench

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .benchmarks
