# Everything runs from .venv, which `make install` makes. Choose another interpreter with
# `make install PYTHON=/path/to/python3.12`, other demo data with `make demo SCALE=1`.

PYTHON ?= python3
SCALE ?= 0.1
DATA ?= data/tpch-$(SCALE)
WORKERS ?= 2
EXAMPLES ?= 2000
CHAOS_SCALE ?= 0.1
SEED ?= 3

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
QUERIES := tpch/queries

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo bench-tpch bench-stragglers bench-shuffle test chaos fuzz lint types format clean distclean constraints

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv with the engine, the TPC-H extra and the development tools

# Two steps, so that an interrupted install goes on where it stopped. The build backend comes first and
# from the constraints too: the project itself is then built without a second, unpinned environment.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Starling needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
	  echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(INSTALLED): $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing into $(VENV)"
	@$(PIP) install -qq --upgrade --constraint constraints.txt pip setuptools
	@$(PIP) install -qq --constraint constraints.txt --no-build-isolation --editable '.[s3,tpch,report,lambda,lambda-local]' --group dev
	@touch $@

$(DATA): | $(INSTALLED)
	@$(BIN)/starling tpch generate --scale $(SCALE) --output $@

demo: $(INSTALLED) | $(DATA) ## Generate TPC-H at scale 0.1 and run three queries through stages and a shuffle
	@for query in q03 q12 q18; do \
	  echo; echo "== TPC-H $$query, four tasks a stage: $(QUERIES)/$$query.sql"; \
	  $(BIN)/starling query "$$(cat $(QUERIES)/$$query.sql)" --data $(DATA) --tasks 4 --workers $(WORKERS) --stats || exit; \
	done

bench-tpch: $(INSTALLED) | $(DATA) ## Time the 22 TPC-H queries against DuckDB on the same files (SCALE=1, 10 …)
	@for tasks in auto 8; do \
	  echo "== scale $(SCALE), --tasks $$tasks"; \
	  $(BIN)/starling tpch run --data $(DATA) --vs duckdb --tasks $$tasks --workers $(WORKERS) --repeat 3 \
	    --output build/tpch-$(SCALE)-$$tasks.json || exit; \
	done

bench-shuffle: $(INSTALLED) ## Measure the CPU time of partitioning and count the requests of shuffles
	@for bench in throughput requests; do $(BIN)/python tests/bench/$$bench.py || exit; done

bench-stragglers: $(INSTALLED) ## Measure what mitigation of stragglers buys, on S3 behind a proxy that is slow at times
	@$(BIN)/python tests/bench/stragglers.py

test: $(INSTALLED) lint types ## Run lint, the format check, types and tests
	@$(BIN)/pytest -n $(WORKERS)

chaos: $(INSTALLED) ## Run the 22 TPC-H queries at scale 0.1 on S3 while one request in twenty fails (SEED=3)
	@CHAOS_SCALE=$(CHAOS_SCALE) CHAOS_SEED=$(SEED) $(BIN)/pytest -n $(WORKERS) tests/s3/test_queries.py -k tpch --timeout 1800

fuzz: $(INSTALLED) ## Compare EXAMPLES=2000 new random statements with DuckDB
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/planner/test_random_queries.py

lint: $(INSTALLED) ## Run ruff and the format check
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(INSTALLED) ## Run mypy, strict, on the five rooms
	@$(BIN)/mypy

format: $(INSTALLED) ## Format the code and apply safe fixes
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

constraints: ## Resolve the dependencies afresh and write constraints.txt
	@rm -rf build/resolve
	@$(PYTHON) -m venv build/resolve
	@build/resolve/bin/python -m pip install -qq --upgrade pip setuptools
	@build/resolve/bin/python -m pip install -qq --editable '.[s3,tpch,report,lambda,lambda-local]' --group dev
	@{ head -n 1 constraints.txt; \
	  build/resolve/bin/python -m pip list --format=freeze --exclude starling-py; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@rm -rf build/resolve

clean: ## Remove what tools and builds leave, but neither .venv nor data
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove .venv and the generated data too
	@rm -rf $(VENV) data/tpch-*
