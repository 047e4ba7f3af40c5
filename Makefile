# Every target sets itself up: a fresh machine needs python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST := $(BIN)/pytest
# The benchmarks' peers would weigh on everything else: they have an environment of their own.
BENCH_VENV  ?= .venv-bench
BENCH       := $(BENCH_VENV)/bin
BENCH_READY := $(BENCH_VENV)/.ready
PEERS       := pathway quix
# So would what builds the documentation site.
DOCS_VENV   ?= .venv-docs
SITE        ?= $(CURDIR)/site
DOCS_READY  := $(DOCS_VENV)/.ready
# And the oldest versions that the bare package may be installed with.
OLDEST_VENV  ?= .venv-oldest
OLDEST_READY := $(OLDEST_VENV)/.ready
# (test_cells declares its features with Feast.)
SDK_TESTS    := tests/client tests/lookup tests/plan --ignore tests/lookup/test_cells.py
BENCHMARKS  ?= $(patsubst benchmarks/%.py,%,$(shell grep -l 'command_line."' benchmarks/*.py))

# Tests run in three processes, because many wait for servers. `make test WORKERS=0` runs them in one, for a debugger.
WORKERS ?= 3
PARALLEL := -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
# Tests and commands start hundreds of Python processes. Without bytecode caches each would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-long test-oldest check lint format fast-tests prove crash bench against plots docs docs-site coverage lock clean

help:
	@echo "make demo     replay a year of flights through the whole store, and prove that online and offline agree"
	@echo "make test     lint, then the tests"
	@echo "make test-long  the tests that take longest: benchmarks in small, everything at once for longer"
	@echo "make test-oldest  the SDK's tests with the oldest versions that pyproject.toml allows"
	@echo "make check    lint, then the fast tests"
	@echo "make lint     ruff, mypy and the import contracts"
	@echo "make format   let ruff fix what it can"
	@echo "make prove    20,000 random cases: online, history and brute force agree on every value"
	@echo "make crash    kill workers at 50 random moments and at every failpoint: nothing is lost, nothing doubled"
	@echo "make bench    ours and the peers side by side (BENCH_FLAGS=--quick: small; BENCHMARKS=stream: that one)"
	@echo "make against  ours now beside ours at an earlier commit (REV=v0.1.0)"
	@echo "make plots    draw how cost grows, to docs/plots"
	@echo "make docs     check README and docs: their links, their commands, their code"
	@echo "make docs-site  build the documentation site, to site/"
	@echo "make coverage the fast tests, and the share of the code that they run"
	@echo "make install  only set up $(VENV)"
	@echo "make lock     write requirements.lock and the other locks again"
	@echo "make clean    remove the environments, .headrace and the caches"

install: $(READY)

# uv installs the lock in seconds where pip takes a minute, so pip fetches uv alone, by the lock's own hashes; without uv, pip does it all.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headrace needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "setting up $(1)"
	$(PYTHON) -m venv --clear $(1)
	@awk '/^[^ #]/ { uv = /^uv==/ } uv' requirements.lock > $(1)/uv.lock
	@( $(1)/bin/python -m pip install --quiet --require-hashes -r $(1)/uv.lock \
	   && VIRTUAL_ENV=$(abspath $(1)) $(1)/bin/uv pip install --quiet --compile-bytecode --require-hashes -r $(2) ) \
	 || $(1)/bin/python -m pip install --quiet --require-hashes -r $(2)
	@$(1)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
endef

$(READY): requirements.lock pyproject.toml
	$(call environment,$(VENV),requirements.lock)
	@touch $@

# A peer that cannot be installed here is left out, and the benchmark says so.
$(BENCH_READY): benchmarks/requirements.lock $(PEERS:%=benchmarks/peers/%.lock) pyproject.toml
	$(call environment,$(BENCH_VENV),benchmarks/requirements.lock)
	@for peer in $(PEERS); do echo "setting up $(BENCH_VENV)/peers/$$peer"; \
	  ( $(PYTHON) -m venv --clear $(BENCH_VENV)/peers/$$peer \
	    && $(BENCH)/uv pip install --quiet --require-hashes --python $(BENCH_VENV)/peers/$$peer/bin/python -r benchmarks/peers/$$peer.lock ) \
	  || rm -rf $(BENCH_VENV)/peers/$$peer; done
	@touch $@

demo: $(READY)
	$(BIN)/headrace demo

test: lint
	$(PYTEST) $(PARALLEL) -m "not short and not long"

test-long: $(READY)
	$(PYTEST) $(PARALLEL) -m long

$(OLDEST_READY): requirements-oldest.lock pyproject.toml
	$(call environment,$(OLDEST_VENV),requirements-oldest.lock)
	@touch $@

test-oldest: $(OLDEST_READY)
	$(OLDEST_VENV)/bin/pytest $(PARALLEL) $(SDK_TESTS)

check: lint fast-tests

fast-tests: $(READY)
	$(PYTEST) $(PARALLEL) -m "not slow and not long"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

prove: $(READY)
	$(BIN)/python -m proofs.prove --cases 20000

crash: $(READY)
	$(BIN)/python -m proofs.crash --kills 50

bench: $(BENCH_READY)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BENCH)/python -m benchmarks.$$name $(BENCH_FLAGS); done

against: $(BENCH_READY)
	$(BENCH)/python -m benchmarks.against $(REV) $(BENCH_FLAGS)

plots: $(BENCH_READY)
	$(BENCH)/python -m benchmarks.plots

docs: $(READY)
	$(PYTEST) tests/docs

$(DOCS_READY): requirements-docs.lock pyproject.toml
	$(call environment,$(DOCS_VENV),requirements-docs.lock)
	@touch $@

docs-site: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet --site-dir $(SITE)

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(PARALLEL) -m "not slow and not long"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Any platform, by hashes. The benchmarks' environment has what they need, in the versions that the tests run with.
COMPILE = env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
          --generate-hashes --no-emit-index-url --no-header --no-annotate $(LOCK_FLAGS)

lock: $(READY)
	@echo "# Everything headrace runs and is tested with, any platform. Written by \`make lock\` from pyproject.toml." \
	  > requirements.lock.new
	@$(COMPILE) pyproject.toml --extra dev >> requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@echo "# What the image runs: headrace[all], any platform. Written by \`make lock\` from pyproject.toml." > requirements-run.lock.new
	@$(COMPILE) pyproject.toml --extra all --constraint requirements.lock >> requirements-run.lock.new
	@mv requirements-run.lock.new requirements-run.lock
	@echo "# What the benchmarks run with, any platform. Written by \`make lock\` from pyproject.toml." > benchmarks/requirements.lock.new
	@$(COMPILE) pyproject.toml --extra bench --constraint requirements.lock >> benchmarks/requirements.lock.new
	@mv benchmarks/requirements.lock.new benchmarks/requirements.lock
	@echo "# What builds the documentation site, any platform. Written by \`make lock\` from pyproject.toml." > requirements-docs.lock.new
	@$(COMPILE) --group docs --constraint requirements.lock >> requirements-docs.lock.new
	@mv requirements-docs.lock.new requirements-docs.lock
	@echo "# The oldest versions that the bare package may be installed with, and what its tests need. Written by \`make lock\`." \
	  > requirements-oldest.lock.new
	@$(COMPILE) --resolution lowest-direct --group oldest pyproject.toml >> requirements-oldest.lock.new
	@mv requirements-oldest.lock.new requirements-oldest.lock
	@for peer in $(PEERS); do \
	  echo "# Written by \`make lock\` from $$peer.in." > benchmarks/peers/$$peer.lock.new; \
	  $(COMPILE) benchmarks/peers/$$peer.in >> benchmarks/peers/$$peer.lock.new; \
	  mv benchmarks/peers/$$peer.lock.new benchmarks/peers/$$peer.lock; done

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(DOCS_VENV) $(OLDEST_VENV) .headrace .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks build dist htmlcov site .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
