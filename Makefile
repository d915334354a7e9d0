# Every developer's action. `make` alone lists them; each target does its own set-up.
# A new machine needs CPython 3.11 to 3.13, pip and make, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(shell find ibloop data/samples systemd bin -type f -not -path '*/__pycache__/*' 2>/dev/null)
CLIENTS := .venv-clients
LOCKS   := tests/clients/locks
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Words for `ibloop demo`: `make demo ONCE=1` ends by itself.
DEMO_ARGS := $(if $(ONCE),--once)

.DEFAULT_GOAL := help
.PHONY: help install setup setup-dev setup-clients demo sim test test-fast bench fuzz world crash chaos soak lint fmt type docs lock wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Install ibloop and what it needs into .venv, from the hash-locked list

demo: setup ## Play a whole week on the simulated gateway (ONCE=1: end by itself)
	@$(BIN)/ibloop demo $(DEMO_ARGS)

sim: setup ## Run the simulated IB Gateway alone
	@$(BIN)/ibloop sim

test: setup-dev setup-clients ## Run every test
	@$(BIN)/pytest -n 2 --dist loadfile

test-fast: setup-dev ## Run the tests that start no processes
	@$(BIN)/pytest -m "not e2e" -n 2

bench: setup-dev ## Measure everything (BENCH=--json: one document for programs; QUICK=1: shorter)
	@$(BIN)/python tests/bench/every.py $(BENCH) $(if $(QUICK),--quick)

# FRAMES says how many. Coverage-guided fuzzing follows where atheris is installed.
fuzz: export FRAMES ?= 1000000
fuzz: setup-dev ## Throw a million bent requests at the simulator (FRAMES=n)
	@$(BIN)/pytest tests/sim/test_fuzz.py --timeout 0
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then \
		PYTHONPATH=tests/sim $(BIN)/python tests/fuzz/atheris_sim.py -runs=$$((FRAMES / 10)) ; \
	else echo "no atheris: without coverage-guided fuzzing (pip install atheris)" >&2; fi

SEEDS ?= 500
FIRST ?= 0
world: setup-dev ## Play simulated worlds (SEEDS=n FIRST=m)
	@WORLD_SEEDS=$(SEEDS) WORLD_FIRST=$(FIRST) $(BIN)/pytest tests/world/test_world.py -n 2 --timeout 0 -p no:logging

crash: setup-dev ## Crash at every boundary, and at some beside a fault (SEEDS=n FIRST=m)
	@CRASH_SEEDS=$(SEEDS) CRASH_FIRST=$(FIRST) $(BIN)/pytest tests/daemons/test_crash_loop.py tests/daemons/test_crash_pairs.py -n 2 --timeout 0 -p no:logging

# Fewer rounds than there are worlds: each takes two minutes.
chaos: SEEDS = 8
chaos: setup-dev ## Kill, stop and cut off real processes (SEEDS=n FIRST=m)
	@CHAOS_SEEDS=$(SEEDS) CHAOS_FIRST=$(FIRST) $(BIN)/pytest tests/chaos -k promise --timeout 0

# Each round begins at a number drawn from the clock, so no two soaks play the same. Only the fuzz has
# no number: hypothesis prints the request that failed.
ROUNDS ?= 0
soak: setup-dev ## Play on until something fails: worlds, crashes, chaos, bent requests in turn (ROUNDS=n: end after n)
	@round=0; \
	play() { \
		echo "soak, round $$round: make $$*"; \
		$(MAKE) --no-print-directory "$$@" || { echo "soak: failed; replay with: make $$*" >&2; exit 1; }; \
	}; \
	while [ "$(ROUNDS)" -eq 0 ] || [ "$$round" -lt "$(ROUNDS)" ]; do \
		round=$$((round + 1)); first=$$(date +%s); \
		play world SEEDS=2000 FIRST=$$first; \
		play crash SEEDS=1000 FIRST=$$first; \
		play chaos SEEDS=20 FIRST=$$first; \
		play fuzz FRAMES=300000; \
	done

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
	@rm -rf $(VENV) $(CLIENTS) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

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

# The TWS API clients that the simulator is tested with: one environment each, for three of them
# are named ibapi. Of these, only ibapi 9.81 has no wheel and is built.
setup-clients: $(patsubst $(LOCKS)/%.lock,$(CLIENTS)/%/.locked,$(wildcard $(LOCKS)/*.lock)) $(CLIENTS)/stoqey/.locked

$(CLIENTS)/stoqey/.locked: $(LOCKS)/stoqey/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "installing the client @stoqey/ib (once) ..." >&2; \
		mkdir -p $(@D) && cp $(LOCKS)/stoqey/*.json $(@D)/ && \
		npm ci --prefix $(@D) --silent --no-audit --no-fund --ignore-scripts && touch $@; \
	else echo "no npm: the client @stoqey/ib will not be tested" >&2; fi

$(CLIENTS)/%/.locked: $(LOCKS)/%.lock $(LOCKS)/build.txt | $(VENV)/.python
	@echo "installing the client $* (once) ..." >&2
	@rm -rf $(@D) && $(BIN)/python -m venv --without-pip $(@D)
	@$(PIP) --python $(@D)/bin/python install --require-hashes --only-binary :all: -r $(LOCKS)/build.txt
	@$(PIP) --python $(@D)/bin/python install --require-hashes --only-binary :all: --no-binary ibapi --no-build-isolation -r $<
	@touch $@
