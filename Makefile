# `make bench` and `make test` do all of their own set-up: a virtual environment in .venv, from pyproject.toml.
# Another Python: make PYTHON=python3.13 bench; from then on, the environment's own is meant. uv is used where it is
# installed; an environment that it made before, with pip or without, is kept.
PYTHON ?= $(or $(shell .venv/bin/python -c '' 2>/dev/null && echo .venv/bin/python),python3)
BIN := .venv/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
INSTALLED := .venv/installed-$(VERSION)
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
PIP = "$(UV)" pip install --quiet --python $(BIN)/python
VENV := "$(UV)" venv --quiet --seed --python $(PYTHON)
else
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
VENV := $(PYTHON) -m venv
endif
# `uv venv` and `uv sync` make environments without pip.
CAN_INSTALL = test -n "$(UV)" || $(BIN)/python -c 'import pip' 2>/dev/null || { \
    echo "make: no pip in $(BIN:/bin=) and no uv on PATH; put uv there, or run: $(BIN)/python -m ensurepip" >&2; exit 1; }

# What is timed must not share the machine with the tests, whatever `make -j` says.
.NOTPARALLEL:
.PHONY: bench bench-all clean coverage figures installer lint profiles reference reference-runs rust rust-tch rust-tensorflow rust-test rust-test-arm test test-all

bench: $(INSTALLED)
	$(BIN)/backprop bench

# Everything that can be installed here, and every row, those that cannot run as grey ones with the reason.
bench-all: $(INSTALLED)
	-$(PIP) --editable '.[mpi]'
	-$(PIP) --editable '.[torch]'
	-$(PIP) --editable '.[jax]'
	-$(PIP) --editable '.[tensorflow]'
	-$(MAKE) rust
	-$(MAKE) rust-tensorflow
	$(BIN)/backprop bench --all --seconds=8

# The tests, without those that take long; all of them where CI is set, or by `make test-all`.
test: $(INSTALLED)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(if $(CI),,-m "not slow")

test-all: $(INSTALLED)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

SIDE_BY_SIDE := -n auto --maxprocesses=4 --dist=loadfile

# The share of lines and branches that the tests reach, in every process that they start; workers are traced as well.
coverage: export BACKPROP_TRACE_WORKERS := 1
coverage: $(INSTALLED)
	$(PIP) 'coverage>=7.10,<8'
	rm -f .coverage .coverage.*
	-$(BIN)/python -m coverage run -m pytest $(SIDE_BY_SIDE) --maxfail=30
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/mypy tests/without_posix/sitecustomize.py

profiles: $(INSTALLED)
	$(BIN)/backprop profile

# The rows of the sweeps, each several minutes: those on one core, and those that split a step over threads.
SWEPT := batched_2d in_place numba rust_batched_gemm rust_fused jax tensorflow torch
THREADED := multithreaded numba rust_rayon rust_fused jax torch
# The optimization steps, and the two implementations of the 2019 post.
RECORDED := per_example batched_2d in_place numba rust_fused rust_per_example rust_per_example_blas
TWINS := --impl=in_place --impl=twin=in_place --impl=slower=tests/support/slower_in_place.py

# The committed results, recordings and figures, made anew; for an idle machine that has everything of bench-all.
reference: $(INSTALLED)
	env $(STEERED:%=-u %) $(MAKE) reference-runs

# Variables of the environment that steer libraries are for whoever set them; the committed results are made without.
STEERED = $(shell $(BIN)/python -c 'from bench.runner import machine; print(*machine.steering_variables())')

reference-runs:
	$(BIN)/backprop bench --results=results/reference/default
	$(BIN)/backprop bench --all --seconds=8 --results=results/reference/all
	OPENBLAS_CORETYPE=Haswell OPENBLAS_L2_SIZE=512 $(BIN)/backprop bench --workload=book --workload=book-f32 \
	    --workload=batch --workload=wide --workload=large --workload=large-f32 --results=results/reference/coretype
	$(BIN)/backprop bench --all --sweep=batch-grid --generations=3 --seconds=3 --results=results/reference/batch-grid
	$(BIN)/backprop bench $(SWEPT:%=--impl=%) --sweep=width-grid --budget=1 --generations=3 --seconds=3 \
	    --results=results/reference/width-grid
	$(BIN)/backprop bench $(SWEPT:%=--impl=%) --sweep=data --budget=5 --generations=3 --seconds=10 \
	    --results=results/reference/data
	$(BIN)/backprop bench $(THREADED:%=--impl=%) --sweep=strong --generations=5 --results=results/reference/strong
	$(BIN)/backprop bench $(THREADED:%=--impl=%) --sweep=weak --results=results/reference/weak
	for run in $$(seq -w 30); do \
	    $(BIN)/backprop bench --workload=book --results=results/reference/control/$$run $(TWINS):Slower || exit; \
	done
	for run in $$(seq -w 20); do \
	    for slower in seven=SevenSlower ten=TenSlower; do \
	        $(BIN)/backprop bench --workload=book --results=results/reference/$${slower%=*}/$$run \
	            --impl=twin=tests/support/slower_in_place.py:$${slower#*=} || exit; \
	    done; \
	done
	$(BIN)/backprop bench --workload=large-all --impl=in_place --impl=multithreaded --impl=rust_fused --impl=mpi \
	    --impl=mpi-rust_fused --impl=torch --impl=torch_ddp --results=results/reference/mpi
	$(BIN)/backprop scale --ranks=1,2,4 --results=results/reference/scaling
	$(BIN)/python -m bench.pages.reference_runs
	cd results/reference && rm -f */report.html coretype/*.png data/*.png weak/*.png mpi/*.png all/[op]*.png all/seven-ways.png
	$(BIN)/backprop profile --out=profiles/recordings --format=raw pure_python $(RECORDED)
	$(BIN)/backprop profile --out=profiles/recordings --format=raw --workload=large $(RECORDED)
	$(BIN)/backprop profile profiles/recordings/in_place.book.1.raw.txt
	rm -f profiles/recordings/shares.large.png
	$(MAKE) figures

figures: $(INSTALLED)
	$(BIN)/backprop figures

CARGO = command -v cargo >/dev/null || { echo "make $@: needs a Rust toolchain (cargo), see https://rustup.rs" >&2; exit 1; }

# Builds the crate in impls/$(1) and installs it: a distribution of its own.
define crate
$(PIP) 'maturin>=1.9,<2'
rm -rf impls/$(1)/target/wheels
cd impls/$(1) && VIRTUAL_ENV="$(CURDIR)/$(BIN:/bin=)" PATH="$(CURDIR)/$(BIN):$$PATH" "$(CURDIR)/$(BIN)/maturin" \
    build --quiet --release --interpreter "$(CURDIR)/$(BIN)/python" --out target/wheels
$(PIP) --force-reinstall --no-deps impls/$(1)/target/wheels/*.whl
endef

# The Rust rows.
rust: $(INSTALLED)
	@$(CARGO)
	$(call crate,rust)

# TensorFlow from Rust, with whatever TensorFlow is installed.
rust-tensorflow: $(INSTALLED)
	@$(CARGO)
	$(PIP) --editable '.[tensorflow]'
	$(call crate,rust_tensorflow)

# PyTorch from Rust: its bindings want one release of PyTorch, so it has an environment of its own.
rust-tch: BIN := .venv-tch/bin
rust-tch: export LIBTORCH_USE_PYTORCH := 1
rust-tch:
	@$(CARGO)
	@test -x $(BIN)/python || $(VENV) .venv-tch
	@$(CAN_INSTALL)
	@echo "installing PyTorch into .venv-tch, and building its Rust bindings; minutes"
	$(PIP) --editable '.[dev,tch]'
	$(call crate,rust_tch)
	@echo "the row is there: $(BIN)/backprop bench --impl=rust_tch --impl=torch"

rust-test:
	for crate in impls/rust*/; do (cd "$$crate" && cargo fmt --check) || exit; done
	cd impls/rust && cargo clippy --all-features --all-targets -- -D warnings
	cd impls/rust && cargo test --release

# The kernels for Arm under emulation, without candle, which is not ours to test. Needs Debian's gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross, qemu-user, rustc-web and libstd-rust-web-dev:arm64 (after dpkg --add-architecture arm64): .ci/run
# installs them.
ARM := aarch64-unknown-linux-gnu
rust-test-arm: export RUSTC := /usr/bin/rustc
rust-test-arm: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER := aarch64-linux-gnu-gcc
rust-test-arm: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := qemu-aarch64
rust-test-arm: export CARGO_PROFILE_RELEASE_LTO := false
rust-test-arm: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS := 16
rust-test-arm: export CARGO_PROFILE_RELEASE_DEBUG := 0
rust-test-arm:
	cd impls/rust && cargo test --release --lib --no-default-features --target $(ARM) --target-dir target/arm

# Targets that install more, into an environment that is there.
bench-all coverage rust rust-tensorflow: | installer
installer: $(INSTALLED)
	@$(CAN_INSTALL)

$(INSTALLED): pyproject.toml
	@test -n "$(VERSION)" || { echo "make: there is no $(PYTHON); name another: make PYTHON=python3.13" \
	    "(or have uv fetch one: uv venv --python 3.13)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: needs Python 3.11 or newer, $(PYTHON) is $(VERSION); name another: make PYTHON=python3.13" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2>/dev/null || rm -rf .venv
	@echo "installing into .venv what pyproject.toml asks for; about a minute"
	@test -x $(BIN)/python || $(VENV) .venv || { rm -rf .venv; \
	    echo "make: $(PYTHON) lacks its module venv; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(CAN_INSTALL)
	@$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .venv-tch .benchmarks impls/*/target
