# Everything runs from .venv, which `make install` makes. Choose another interpreter with
# `make install PYTHON=/path/to/python3.12`, other demo data with `make demo SCALE=1`.

PYTHON ?= python3
SCALE ?= 0.1
DATA ?= data/tpch-$(SCALE)
WORKERS ?= 2
# Many tests wait: three workers keep two cores busy.
TEST_WORKERS ?= 3
EXAMPLES ?= 2000
REPEAT ?= 3
CHAOS_SCALE ?= 0.1
TPCDS_SCALE ?= 1
SEED ?= 3

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
QUERIES := tpch/queries
TPCDS_VENV := build/tpcds
TPCDS_SMALL := data/tpcds-0.01

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo demo-lambda bench-planner bench-tpch bench-stragglers bench-shuffle bench-functions bench-client test test-long test-functions chaos fuzz tpcds tpcds-data lint types format clean distclean constraints

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

demo-lambda: $(INSTALLED) | $(DATA) ## Deploy to local stand-ins of AWS, run TPC-H on functions, show prices, remove it all
	@PYTHONPATH=tests/servers $(BIN)/python tests/demo/on_lambda.py $(DATA)

bench-tpch: $(INSTALLED) | $(DATA) ## Time the 22 TPC-H queries against DuckDB on the same files (SCALE=1, 10 …)
	@for isolation in thread process; do for tasks in auto 8; do \
	  echo "== scale $(SCALE), --tasks $$tasks, workers: $$isolation"; \
	  $(BIN)/starling tpch run --data $(DATA) --vs duckdb --tasks $$tasks --isolation $$isolation --workers $(WORKERS) \
	    --repeat $(REPEAT) --output build/tpch-$(SCALE)-$$isolation-$$tasks.json || exit; \
	done; done

bench-planner: $(INSTALLED) | $(DATA) data/tpcds-$(TPCDS_SCALE) ## Time planning of the queries of TPC-H and TPC-DS (SCALE=1)
	@$(BIN)/python tests/bench/planner.py $(DATA) data/tpcds-$(TPCDS_SCALE)

bench-shuffle: $(INSTALLED) ## Measure the CPU time of partitioning and count the requests of shuffles
	@for bench in throughput requests; do $(BIN)/python tests/bench/$$bench.py || exit; done

bench-functions: $(INSTALLED) ## List the imports of a cold start; measure what calls of functions cost, on one and two levels
	@for bench in functions two_levels; do $(BIN)/python tests/bench/$$bench.py || exit; done

bench-client: $(INSTALLED) ## Measure what answers cost on their way to Python, beside DuckDB: Arrow, pandas, streams, start
	@$(BIN)/python tests/bench/client.py

bench-stragglers: $(INSTALLED) ## Measure what mitigation of stragglers buys, on S3 behind a proxy that is slow at times
	@$(BIN)/python tests/bench/stragglers.py

# The extension that makes TPC-DS data exists for another version of DuckDB than the engine's, so it gets an
# environment of its own.
$(TPCDS_VENV)/.installed:
	@rm -rf $(TPCDS_VENV)
	@$(PYTHON) -m venv $(TPCDS_VENV)
	@$(TPCDS_VENV)/bin/python -m pip --disable-pip-version-check install -qq duckdb==1.5.5 duckdb-extension-tpcds==1.5.5
	@touch $@

data/tpcds-%: | $(TPCDS_VENV)/.installed
	@$(TPCDS_VENV)/bin/python tests/tpcds/make_data.py $* $@

tpcds-data: | data/tpcds-$(TPCDS_SCALE) ## Make TPC-DS data and the texts of its 99 queries (TPCDS_SCALE=1)

tpcds: $(INSTALLED) | data/tpcds-$(TPCDS_SCALE) ## Compare the 99 queries of TPC-DS with DuckDB (TPCDS_SCALE=1)
	@TPCDS_DATA=data/tpcds-$(TPCDS_SCALE) $(BIN)/pytest -n $(WORKERS) tests/tpcds

test: $(INSTALLED) lint types | $(TPCDS_SMALL) ## Run lint, the format check, types and tests
	@$(BIN)/pytest -n $(TEST_WORKERS)

test-long: $(INSTALLED) ## Run the tests that make test leaves out: more ways to see what others see too
	@$(BIN)/pytest -n $(WORKERS) -m long

test-functions: $(INSTALLED) ## Run the 22 TPC-H queries at scale 0.1 on functions, also while functions fail (SEED=3)
	@FUNCTIONS_SCALE=$(CHAOS_SCALE) CHAOS_SEED=$(SEED) $(BIN)/pytest -n 0 tests/functions/test_tpch.py --timeout 1800

chaos: $(INSTALLED) ## Run the 22 TPC-H queries at scale 0.1 on S3 while one request in twenty fails (SEED=3)
	@CHAOS_SCALE=$(CHAOS_SCALE) CHAOS_SEED=$(SEED) $(BIN)/pytest -n $(WORKERS) tests/s3/test_queries.py -k tpch --timeout 1800

fuzz: $(INSTALLED) ## Compare EXAMPLES=2000 new random statements with DuckDB
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/planner/test_random_queries.py tests/connection/test_parameters.py

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
	@rm -rf $(VENV) data/tpch-* data/tpcds-*
