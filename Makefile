# Everything a fresh clone needs: Python 3.11 or newer, make, and a package index that pip can reach.
#   make quickstart   set up, then a real search on real text (five to eight minutes on two cores)
#   make test         set up, then the tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# A worker that dies fails its test alone; replaced, it would leave pytest waiting for ever.
TESTS := $(ONE_THREAD) $(BIN)/python -m pytest -q -n 2 --dist loadfile --max-worker-restart 0
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help quickstart test cluster-test kill-matrix large-store check bench bench-training dashboard clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(RUN_STAMP)  ## Set up, then run a real search on real text
	$(BIN)/mixopt run configs/quickstart.yaml

test: $(DEV_STAMP)  ## Set up, then run the tests
	$(TESTS)

cluster-test: $(DEV_STAMP)  ## Set up, then kill nodes and heads of Ray clusters under searches
	$(BIN)/python -m pytest -q -m cluster

kill-matrix: $(DEV_STAMP)  ## Set up, then kill a search at 50 random moments and resume each
	MIXOPT_KILLS=50 $(ONE_THREAD) $(BIN)/python -m pytest -q tests/mixopt/search/test_kill_matrix.py

large-store: $(DEV_STAMP)  ## Set up, then time what reads a search of 100,000 trials
	$(BIN)/python -m tests.benchmarks.large_stores 100000

check: $(DEV_STAMP)  ## Format, lint, types, import rules and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TESTS)

bench: $(RUN_STAMP)  ## Measure every speed against plain loops: a table, and bench.json
	$(ONE_THREAD) $(BIN)/python -m tests.benchmarks.speed

bench-training: $(RUN_STAMP)  ## Measure what optimizers and precision do to losses (half an hour to an hour)
	$(ONE_THREAD) $(BIN)/python -m tests.benchmarks.losses

dashboard: $(RUN_STAMP)  ## Open the dashboard on ./mixopt.db
	$(BIN)/mixopt dashboard

clean:  ## Remove the virtual environment and caches; stores and corpora stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first: everything that builds on it then finds the version that we mean.
$(RUN_STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mixopt needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet torch==2.13.0 -c constraints.txt
	$(PIP) install --quiet -e . -c constraints.txt
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	$(PIP) install --quiet -e '.[dev]' -c constraints.txt
	@touch $@
