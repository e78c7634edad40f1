# What people and CI run. Every target works from a fresh clone on Debian with Rust installed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Bounded number of runs per fuzz target in `make fuzz`.
FUZZ_RUNS ?= 20000
DEMO_ARGS ?=
# Which program the demo runs: `release` builds it; `debug` takes the one that the tests have built, slower to talk over.
PROFILE ?= release

# Where cargo puts what it builds.
BUILT := $(abspath $(or $(CARGO_TARGET_DIR),target))

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## Install the Debian packages that the build and the tests need
	@.ci/packages build

.PHONY: setup-test
setup-test:
	@.ci/packages build test

.PHONY: setup-bench
setup-bench:
	@.ci/packages build test bench

.PHONY: setup-peers
setup-peers:
	@.ci/packages build quality peers

.PHONY: build
build: setup ## Build the program: target/release/zmesh
	$(CARGO) build --release --locked -p zmesh

.PHONY: demo
demo: $(if $(filter debug,$(PROFILE)),setup,build) ## A private call and a proxied download over 3-hop circuits, on this machine
	"$(BUILT)/$(PROFILE)/zmesh" demo $(DEMO_ARGS)

.PHONY: test
test: setup-test ## All tests
	# Tests of real processes run the program that was built with them.
	ZMESH_BIN="$(BUILT)/debug/zmesh" $(CARGO) test --locked --workspace --all-features --lib --bins --tests
	$(CARGO) test --locked --workspace --all-features --doc
	python3 specs/vectors/check.py

.PHONY: lint
lint: setup ## Formatting, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	# The fuzz targets with our own profiles and folder, so that what they share with the rest is not compiled again.
	sed -n '/^\[profile\.dev\]/,/^\[profile\.release\]/{/profile\.release/!p}' Cargo.toml > "$(BUILT)/profiles.toml"
	$(CARGO) clippy --locked --config "$(BUILT)/profiles.toml" --manifest-path fuzz/Cargo.toml --target-dir "$(BUILT)" --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features

.PHONY: deny
deny: setup ## Licences, banned crates and sources of the dependencies
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --version 0.20.2 --locked --debug
	cargo-deny --all-features check licenses bans sources
	cargo-deny --manifest-path fuzz/Cargo.toml check licenses bans sources

.PHONY: advisories
advisories: setup ## Known weaknesses of the dependencies; fetches the list of them
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --version 0.20.2 --locked --debug
	cargo-deny --all-features check advisories

.PHONY: fuzz
fuzz: setup ## Build every fuzz target and run each for FUZZ_RUNS inputs
	.ci/fuzz $(FUZZ_RUNS)

.PHONY: bench
bench: build setup-bench ## One table: ours beside its peers, measured in the same run
	$(CARGO) run --release --locked -p zmesh-tests --bin zmesh-bench

# Python packages that judge sound, apart from those of the system.
QUALITY_PYTHON := $(BUILT)/quality-venv/bin/python
QUALITY_ARGS ?=

$(QUALITY_PYTHON): tests/quality/requirements.txt
	@.ci/packages build quality
	python3 -m venv $(BUILT)/quality-venv
	$(QUALITY_PYTHON) -m pip install --quiet --requirement tests/quality/requirements.txt
	@touch $(QUALITY_PYTHON)

.PHONY: quality
quality: $(QUALITY_PYTHON) ## Calls over bad networks, in virtual time: PESQ, ViSQOL, delay, what is made up (QUALITY_ARGS="--profile mobile")
	$(CARGO) run --release --locked -p zmesh-tests --bin zmesh-quality -- \
		--python $(QUALITY_PYTHON) --rows target/quality-rows.jsonl $(QUALITY_ARGS)

# The switches by which the cryptographic crates leave the processor's AES and carry-less multiplication unused.
PORTABLE := --cfg aes_backend="soft" --cfg polyval_backend="soft" --cfg aes_force_soft --cfg polyval_force_soft
MATRIX_ARGS ?=

.PHONY: matrix
matrix: setup ## Hops x loss repair x loss x native or portable: throughput, echo, a call's loss
	mkdir -p "$(BUILT)"
	$(CARGO) run --release --locked -p zmesh-costs > "$(BUILT)/costs-native.json"
	RUSTFLAGS='$(PORTABLE)' $(CARGO) run --release --locked --target-dir "$(BUILT)/portable" -p zmesh-costs > "$(BUILT)/costs-portable.json"
	$(CARGO) run --release --locked -p zmesh-tests --bin zmesh-matrix -- \
	  --native "$(BUILT)/costs-native.json" --portable "$(BUILT)/costs-portable.json" $(MATRIX_ARGS)

LAB_ARGS ?=

.PHONY: lab
lab: ## Which translators of addresses (NAT) two nodes get through, in network namespaces (root; LAB_ARGS="--only open,symmetric")
	@.ci/packages build lab
	$(CARGO) run --locked -p zmesh-lab -- $(LAB_ARGS)

.PHONY: vectors
vectors: setup ## Write specs/vectors anew (a test checks that they match)
	$(CARGO) run --locked -p zmesh-sphinx --example vectors
	$(CARGO) run --locked -p zmesh-fec --example vectors
	$(CARGO) run --locked -p zmesh-proto --example agreement_vectors

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean
	rm -rf fuzz/target demo-output
