# Every developer's action. `make` alone lists them; each target does its own set-up.
# A new machine needs CPython 3.11 to 3.13, pip and make, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(shell find ibloop data/samples systemd bin -type f -not -path '*/__pycache__/*' 2>/dev/null)
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Words for `ibloop demo`: `make demo ONCE=1` ends by itself.
DEMO_ARGS := $(if $(ONCE),--once)

.DEFAULT_GOAL := help
.PHONY: help install setup setup-dev demo sim test test-fast lint fmt type docs lock wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Install ibloop and what it needs into .venv, from the hash-locked list

demo: setup ## Play a whole week on the simulated gateway (ONCE=1: end by itself)
	@$(BIN)/ibloop demo $(DEMO_ARGS)

sim: setup ## Run the simulated IB Gateway alone
	@$(BIN)/ibloop sim

test: setup-dev ## Run every test
	@$(BIN)/pytest -n 2 --dist loadfile

test-fast: setup-dev ## Run the tests that start no processes
	@$(BIN)/pytest -m "not e2e" -n 2

lint: setup-dev ## Check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

fmt: setup-dev ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

type: setup-dev ## Check the types
	@$(BIN)/mypy

docs: setup-dev ## Write the generated reference pages anew
	@$(BIN)/python docs/generate.py

# A system-wide installation; DESTDIR is for building a package.
DESTDIR ?=
PREFIX  ?= /usr/local
install: ## Install program and units below PREFIX; enables and starts nothing
	@PYTHON="$(PYTHON)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" bin/install

lock: ## Resolve the dependencies anew into the lock files
	@bin/lock

wheel: setup ## Build the wheel into dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

clean: ## Remove everything that make has made
	@rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 14) and f"ibloop needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.locked: requirements.lock | $(VENV)/.python
	@echo "installing what ibloop needs (about a minute, once) ..." >&2
	@$(PIP) install --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(VENV)/.installed: pyproject.toml README.md LICENSE $(SOURCES) $(VENV)/.locked
	@$(PIP) install --no-deps --no-build-isolation --force-reinstall .
	@touch $@

$(VENV)/.locked-dev: requirements-dev.lock $(VENV)/.locked
	@echo "installing the test tools (once) ..." >&2
	@$(PIP) install --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

setup-dev: setup $(VENV)/.locked-dev
