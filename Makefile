# Needs Python 3.11 or newer, make and git; everything else goes into .venv.
# Stamps in .venv say what is done, so a second call starts at once.

PYTHON ?= python3
# Flags of the sweep:  make sweep ARGS="--train.steps 500 --out runs/short"
ARGS ?=
# Most test time is tracing and compiling, which use one core: two workers fill two cores, though
# each program runs threaded. WORKERS=0 is one process (to debug, or to share one GPU).
WORKERS ?= 2
# Flags of pytest:  make test TESTS="tests/parity -k labels"
TESTS ?=
# What a change in pure code needs: no processes, browser or PyTorch, no drawings and nothing that
# is interrupted (see tests/kinds.py), and no test of more than 10 s.
QUICK := not (processes or browser or rivals or drawings or crashes or slow)
# The reference of tests and benchmarks. Apart from the lock, because its build is a choice: on
# Linux the default one brings CUDA libraries of several GB; with PIP_EXTRA_INDEX_URL set to
# PyTorch's CPU index, pip takes the CPU build.
TORCH := torch==2.13.0

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help tour sweep quick test thorough newest fuzz kills pictures snippets site lint env env-test lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Variables: PYTHON=python3.12  ARGS="flags of the sweep"  TESTS="flags of pytest"  WORKERS=0'

sweep: .venv/.runtime ## train the miniature of Figure 2 and draw it (1 minute; ARGS=... for other sweeps)
	@$(BIN)/python -m jquanta.sweep $(ARGS)

tour: .venv/.runtime ## everything once, small, on one page: runs/tour/index.html (5 minutes on 2 cores)
	@$(BIN)/python -m jquanta tour $(ARGS)

pictures: .venv/.runtime ## make the pictures and numbers of the documents anew (1 hour; ARGS=long for all)
	@$(BIN)/python -m docs.pictures $(ARGS)

quick: .venv/.test ## run the tests of pure code alone (3 minutes on 2 cores)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m '$(QUICK)' $(TESTS)

test: .venv/.test ## run the tests, a few cases of expensive ones (30 minutes on 2 slow cores)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

thorough: .venv/.test ## run every case of every test, compiled as for users (an hour or more)
	@XLA_FLAGS= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --thorough $(TESTS)

newest: ## quick tests and a run of everything, with the newest Python and newest releases (12 minutes)
	@WORKERS=$(WORKERS) QUICK='$(QUICK)' .ci/newest

fuzz: .venv/.runtime ## damage inputs and folders, 1,000 times each (ARGS="--cases 100 --only sweep")
	@$(BIN)/python -m tests.trust.fuzz $(ARGS)

kills: .venv/.runtime ## kill every command at 50 random moments (1 hour; ARGS="--each 6 --only sweep")
	@$(BIN)/python -m tests.trust.kills $(ARGS)

snippets: .venv/.runtime ## run every block of the documents (2 minutes after make tour)
	@$(BIN)/python -m tests.docs.snippets $(ARGS)

site: .venv/.docs ## build the documents as a site, tutorials run: site/index.html (3 minutes)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo site/index.html

lint: .venv/.runtime ## check style, format and types (1 minute)
	@status=0; for check in 'ruff check .' 'ruff format --check .' mypy; do \
	    echo "$$check"; $(BIN)/$$check || status=1; \
	done; exit $$status

env: .venv/.runtime ## make the environment in .venv (2 minutes, once)

env-test: .venv/.test ## the same with torch, for tests and benchmarks (1 minute more, once)

lock: $(BIN)/python ## pin anew what pyproject.toml changed (ARGS=--upgrade for the newest of all)
	$(PIP) install 'uv>=0.13'
	$(BIN)/uv pip compile pyproject.toml --extra test --group build \
	    --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate --quiet $(ARGS) -o requirements.lock
	$(BIN)/uv pip compile --group docs --constraint requirements.lock \
	    --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate --quiet $(ARGS) -o requirements-docs.lock

clean: ## remove .venv, builds and caches; runs stay
	rm -rf .venv .venv-newest build dist site .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo 'jquanta needs Python 3.11 or newer, and "$(PYTHON)" is not: name one, as in' \
	         '"make PYTHON=python3.11 sweep"' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	    echo 'The venv module of "$(PYTHON)" is missing: install it (Debian: python3-venv)' >&2; \
	    rm -rf .venv; exit 1; }

# The package itself is installed in place, with the locked build tools: nothing unpinned comes in.
.venv/.runtime: $(BIN)/python requirements.lock pyproject.toml
	@echo 'Bringing .venv to requirements.lock: about 2 minutes the first time'
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.test: .venv/.runtime
	@echo 'Adding $(TORCH) to .venv: about 1 minute the first time'
	@$(PIP) install $(TORCH)
	@touch $@

# What the site needs has a lock of its own, which agrees with the other: it goes on top.
.venv/.docs: .venv/.runtime requirements-docs.lock
	@echo 'Adding what builds the site to .venv'
	@$(PIP) install --require-hashes -r requirements-docs.lock
	@touch $@
