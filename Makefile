# One verb per line.  `make demo` and `make test` need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin/
FLOOR := 98
.DEFAULT_GOAL := check
.PHONY: help demo test check format lint types imports rewrite smoke bench fuzz-long coverage

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The stamps make a fresh clone work, and a changed pyproject.toml reinstall.
$(BIN)python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Interlock needs Python >= 3.11")'
	$(PYTHON) -m venv $(VENV)
$(VENV)/.demo: pyproject.toml | $(BIN)python
	$(BIN)python -m pip install --quiet --editable '.[demo]'
	touch $@
$(VENV)/.dev: pyproject.toml | $(BIN)python
	$(BIN)python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## Watch an A2A client drive a real agent; no key, no network
	$(BIN)interlock demo
test: $(VENV)/.dev  ## Every test but the packaging smoke
	$(BIN)python -m pytest
check: lint types imports  ## Everything that needs no run
format: $(VENV)/.dev
	$(BIN)ruff format
	$(BIN)ruff check --fix
lint: $(VENV)/.dev
	$(BIN)ruff format --check
	$(BIN)ruff check
types: $(VENV)/.dev
	$(BIN)mypy
	$(BIN)pyright
imports: $(VENV)/.dev
	$(BIN)lint-imports
rewrite: $(VENV)/.dev  ## Redraw golden files and scripts; then read the diff
	REWRITE=1 $(BIN)python -m pytest tests/golden tests/scripts
smoke: $(VENV)/.dev  ## Build the wheel; install and import it alone, then with each extra
	$(BIN)python -m pytest tests/smoke
bench: $(VENV)/.dev  ## Measure; informs, never gates
	$(BIN)python bench/lifecycle.py
	$(BIN)python bench/latency.py
	$(BIN)python bench/a2a.py
fuzz-long: $(VENV)/.dev  ## The properties again, random and with thousands of examples
	$(BIN)python -m pytest tests/properties --hypothesis-profile=long
coverage: $(VENV)/.dev  ## Branch coverage of engine/, with a floor
	$(BIN)python -m pytest --cov --cov-report=term-missing --cov-fail-under=$(FLOOR)
