# Every target sets itself up: a fresh machine needs python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST := $(BIN)/pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test check lint format fast-tests prove crash bench docs lock clean

help:
	@echo "make demo     replay a year of flights through the whole store, and prove that online and offline agree"
	@echo "make test     lint, then every test"
	@echo "make check    lint, then the fast tests (what pre-commit runs)"
	@echo "make lint     ruff, mypy and the import contracts"
	@echo "make format   let ruff mend what it can"
	@echo "make prove    20,000 random cases: online, history and brute force agree on every value"
	@echo "make crash    kill workers at 50 random moments and at every failpoint: nothing is lost, nothing doubled"
	@echo "make bench    run the benchmarks"
	@echo "make docs     check README and docs: their links, their commands, their code"
	@echo "make install  only set up $(VENV)"
	@echo "make lock     write requirements.lock anew from pyproject.toml"
	@echo "make clean    remove $(VENV), .headrace and the caches"

install: $(READY)

# uv installs the lock in seconds where pip takes a minute, so pip fetches uv alone, by the lock's own hashes; without uv, pip does it all.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headrace needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "setting up $(VENV)"
	$(PYTHON) -m venv --clear $(VENV)
	@awk '/^[^ #]/ { uv = /^uv==/ } uv' requirements.lock > $(VENV)/uv.lock
	@( $(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.lock \
	   && VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock ) \
	 || $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	$(BIN)/headrace demo

test: lint
	$(PYTEST)

check: lint fast-tests

fast-tests: $(READY)
	$(PYTEST) -m "not slow"

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

bench: $(READY)
	@set -e; for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python $$file; done

docs: $(READY)
	$(PYTEST) tests/docs

lock: $(READY)
	@echo "# Everything headrace runs and is tested with, all extras, any platform. Written by \`make lock\` from pyproject.toml." \
	  > requirements.lock.new
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --all-extras \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate $(LOCK_FLAGS) >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) .headrace .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
