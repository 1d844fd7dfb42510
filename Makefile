# `make bench` and `make test` do all of their own set-up: a virtual environment in .venv, from pyproject.toml.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
WHEELS := impls/rust/target/wheels

.PHONY: bench bench-all test lint profiles rust rust-test clean

bench: .venv/installed
	$(BIN)/backprop bench

# Everything that can be installed here, and every row, those that cannot run as grey ones with the reason.
bench-all: .venv/installed
	-$(BIN)/python -m pip install --quiet --editable '.[numba]'
	-$(BIN)/python -m pip install --quiet --editable '.[torch]'
	-$(BIN)/python -m pip install --quiet --editable '.[jax]'
	-$(BIN)/python -m pip install --quiet --editable '.[tensorflow]'
	-$(MAKE) rust
	$(BIN)/backprop bench --all --seconds=12 --results=results/all

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

profiles: .venv/installed
	$(BIN)/backprop profile

# The Rust rows: a distribution of their own, built here.
rust: .venv/installed
	@command -v cargo >/dev/null || { echo "make rust: needs a Rust toolchain (cargo), see https://rustup.rs" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet 'maturin>=1.9,<2'
	cd impls/rust && VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin build --quiet --release --interpreter $(BIN)/python --out target/wheels
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl

rust-test:
	cd impls/rust && cargo fmt --check
	cd impls/rust && cargo clippy --all-features --all-targets -- -D warnings
	cd impls/rust && cargo test --release

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .benchmarks impls/rust/target
