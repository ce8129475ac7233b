# One verb per line.  `make demo` and `make test` need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin/
FLOOR := 98
FAULTS_KILLS ?= 500
SCALE_KILLS ?= 200
SCALE_HOST ?= postgres
SEED ?= 1
# Of `make demo`, and not of whoever has a variable of that name in the environment.
AGENT :=
.DEFAULT_GOAL := check
.PHONY: help demo test check format lint types mypy pyright imports specs-check rewrite smoke docs claims
.PHONY: bench bench-quick bench-own typed matrix release demo-replicas bench-peer bench-mcp fuzz-long faults faults-smolagents scale conformance coverage

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# The stamps make a fresh clone work, and a changed pyproject.toml reinstall.
$(BIN)python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Interlock needs Python >= 3.11")'
	$(PYTHON) -m venv $(VENV)
$(VENV)/.demo: pyproject.toml | $(BIN)python
	$(BIN)python -m pip install --quiet --editable '.[demo]'
	touch $@
$(VENV)/.demo-smolagents: pyproject.toml | $(BIN)python
	$(BIN)python -m pip install --quiet --editable '.[demo,mcp,smolagents]'
	touch $@ $(VENV)/.demo
$(VENV)/.dev: pyproject.toml | $(BIN)python
	$(BIN)python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.demo $(VENV)/.demo-smolagents

demo: $(VENV)/.demo$(filter -smolagents,$(AGENT:%=-%))  ## Watch an A2A client drive a real agent, or AGENT=smolagents; no key, no network
	$(BIN)interlock demo$(AGENT:%= --agent %)
demo-replicas: $(VENV)/.dev  ## Two replicas on PostgreSQL, one of which is killed
	$(BIN)python examples/two_replicas/run.py
test: $(VENV)/.dev  ## Every test but the packaging smoke
	$(BIN)python -m pytest --numprocesses=auto --dist=worksteal
check: $(VENV)/.dev  ## Everything but the tests, two at once
	$(MAKE) --no-print-directory --jobs=2 lint mypy pyright typed imports
format: $(VENV)/.dev
	$(BIN)ruff format
	$(BIN)ruff check --fix
lint: $(VENV)/.dev
	$(BIN)ruff format --check
	$(BIN)ruff check
types: mypy pyright
mypy: $(VENV)/.dev
	$(BIN)mypy
pyright: $(VENV)/.dev
	$(BIN)pyright
typed: $(VENV)/.dev  ## Is every public name typed for those who use the packages?
	PYTHONPATH=tests $(BIN)python -m release.typed
imports: $(VENV)/.dev
	$(BIN)lint-imports
specs-check: $(VENV)/.dev  ## Is every drawn file current, and has every requirement a test?
	$(BIN)python -m pytest --quiet tests/golden tests/specs tests/unit/test_spec.py \
		tests/unit/test_requirements.py
rewrite: $(VENV)/.dev  ## Redraw golden files and scripts; then read the diff
	REWRITE=1 $(BIN)python -m pytest tests/golden tests/scripts
smoke: $(VENV)/.dev  ## Build the wheel; install and import it alone, then with each extra
	$(BIN)python -m pytest tests/smoke
matrix: $(VENV)/.dev  ## Every test on Python 3.11 to 3.13, lowest and highest versions; LEG=3.13-lowest for one
	PYTHONPATH=tests $(BIN)python -m release.matrix $(LEG)
release: $(VENV)/.dev  ## Build into dist/, check it, list what it needs; publishes nothing
	PYTHONPATH=tests $(BIN)python -m release
	$(BIN)python -m pytest tests/smoke
bench: $(VENV)/.dev  ## Interlock beside its peers: one report in bench/results, 35 to 40 minutes; never gates
	$(BIN)python -m bench.compare
bench-quick: $(VENV)/.dev  ## The same in small, some minutes; not to be quoted
	$(BIN)python -m bench.compare --quick
bench-own: $(VENV)/.dev  ## Our own benches, one by one
	$(BIN)python -m bench.lifecycle
	$(BIN)python -m bench.latency
	$(BIN)python -m bench.a2a
	$(BIN)python -m bench.durable
	$(BIN)python -m bench.parked
	$(BIN)python -m bench.smolagents
	$(BIN)python -m bench.service
	$(BIN)python -m bench.scale
bench-peer: $(VENV)/.dev  ## Measure beside agent-runtime-sdk, in an environment of its own
	$(BIN)python -m bench.peer
bench-mcp: $(VENV)/.dev  ## Measure as an MCP server beside fastmcp-tasks, in an environment of its own
	$(BIN)python -m bench.mcp
fuzz-long: $(VENV)/.dev  ## The properties again, random and with thousands of examples
	$(BIN)python -m pytest tests/properties --hypothesis-profile=long -o faulthandler_timeout=0
faults: $(VENV)/.dev  ## Kill a real server over and over, and audit what is left
	PYTHONPATH=engine:adapters:tests $(BIN)python -m faults --kills $(FAULTS_KILLS) --seed $(SEED) $(if $(FAULTS_ROUND),--round $(FAULTS_ROUND))
faults-smolagents: $(VENV)/.dev  ## Kill agents of smolagents around every append, and audit them
	PYTHONPATH=engine:adapters:tests $(BIN)python -m faults.smol --seed $(SEED) $(if $(KINDS),--kinds $(KINDS))
scale: $(VENV)/.dev  ## Kill, stop and drain real replicas on a real server, and audit them
	PYTHONPATH=engine:adapters:tests $(BIN)python -m scale --host $(SCALE_HOST) --kills $(SCALE_KILLS) --seed $(SEED) $(if $(SCALE_ROUND),--round $(SCALE_ROUND))
conformance: $(VENV)/.dev  ## MCP's own suites and an independent client against us; needs npm
	PYTHONPATH=engine:adapters:tests $(BIN)python -m conformance $(SCENARIO:%=--scenario %)
claims: $(VENV)/.dev  ## See whether what the comparison says of peers is so, in environments of their own
	$(BIN)python -m bench.claims
docs: $(VENV)/.dev  ## Build the documentation; a warning is an error
	$(BIN)sphinx-build -W -n --keep-going -q -j auto -c docs -d docs/_build/doctrees . docs/_build/html
coverage: $(VENV)/.dev  ## Branch coverage of engine/, with a floor
	$(BIN)python -m pytest --cov --cov-report=term-missing --cov-fail-under=$(FLOOR)
