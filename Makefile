# Two commands matter: `make demo` and `make test`. They need Python 3.11+, make and a JDK 17+, nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python that is new enough; PYTHON=… overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?=
PYTEST ?=
BENCH ?=
# Where Python may keep no bytecode, each test process rewrites and compiles all tests anew: six seconds each.
unexport PYTHONDONTWRITEBYTECODE

# Test processes; each starts servers, some 2.5 GB. Which runs what: tests/scheduling.py.
WORKERS ?= 4

$(READY): pyproject.toml src/fleetlab/pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found on PATH; install one or say make PYTHON=/path/to/python." >&2; exit 1; }
	@start=$$(date +%s); echo "Installing into $(VENV) …"; \
	{ test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } || { echo "$(PYTHON) cannot make a virtual environment; install its venv module (Debian: python3-venv)." >&2; exit 1; }; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' constraints.txt)" && \
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[bench,dev]' -e src/fleetlab && \
	echo $$(( $$(date +%s) - start )) > $(VENV)/.install-seconds && touch $@ && echo "Installed in $$(cat $(VENV)/.install-seconds) s."

.PHONY: install
install: $(READY) ## install everything into .venv

.PHONY: demo
demo: $(READY) ## the whole pipeline on real servers, checked against ground truth (DEMO="--keep --json out.json" passes options)
	@$(BIN)/fleetlab demo $(DEMO)

.PHONY: test
test: $(READY) ## all tests but the long ones, on the embedded servers (PYTEST="-k ledger" passes options)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not long" $(PYTEST)

.PHONY: test-unit
test-unit: $(READY) ## quick tests that need no server, in under half a minute
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not long" tests/unit $(PYTEST)

.PHONY: test-component
test-component: $(READY) ## tests that need no server, but other processes or seconds each; without the long ones
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not long" tests/component $(PYTEST)

.PHONY: test-long
test-long: $(READY) ## the tests that run for minutes each
	@$(BIN)/pytest -m long $(PYTEST)

.venv-bench/.ready: bench/peers/quix.txt $(READY)
	@$(PYTHON) -m venv .venv-bench && $(BIN)/uv pip install --quiet --python .venv-bench/bin/python -r $< && touch $@

.PHONY: bench-ingest
bench-ingest: $(READY) .venv-bench/.ready ## Kafka -> Elasticsearch beside the alternatives, rates and processor time (BENCH="--rounds 1")
	@$(BIN)/python -m bench.ingest $(BENCH)

# Its releases may not install everywhere; the benchmark goes on without it and says so.
.venv-bench-dbt/.ready: bench/peers/dbt.txt $(READY)
	@$(PYTHON) -m venv .venv-bench-dbt && $(BIN)/uv pip install --quiet --python .venv-bench-dbt/bin/python -r $< && touch $@ \
		|| { echo "dbt could not be installed; the benchmark goes on without it." >&2; rm -rf .venv-bench-dbt; }

.PHONY: bench-rollup
bench-rollup: $(READY) .venv-bench-dbt/.ready ## replica -> minute, hour, day beside the alternatives: buffers, time, wrong windows (BENCH="--rounds 1 --rows 30000")
	@$(BIN)/python -m bench.rollup $(BENCH)

.PHONY: bench-suspects
bench-suspects: $(READY) ## precision and recall of suspects on simulated companies, beside the best plain rule (BENCH="--seeds 2")
	@$(BIN)/python -m bench.suspects $(BENCH)

.PHONY: bench-isolation
bench-isolation: $(READY) ## what dashboards cost the primary, on its tables and on the aggregates (BENCH="--seconds 10")
	@$(BIN)/python -m bench.isolation $(BENCH)

.PHONY: bench-freshness
bench-freshness: $(READY) ## from commit and append to the number, by schedule and with --follow; half an hour (BENCH="--seconds 120")
	@$(BIN)/python -m bench.freshness $(BENCH)

.PHONY: bench-load
bench-load: $(READY) ## dashboards by 75 to 300 viewers, the pipeline at 386 to 35,000 events a second (BENCH="--seconds 10 --only d")
	@$(BIN)/python -m bench.load $(BENCH)

.PHONY: bench-panels
bench-panels: $(READY) ## processor time of every panel over an hour to half a year; fails above 100 ms (BENCH="--only commands --span 180d")
	@$(BIN)/python -m bench.panels $(BENCH)

.PHONY: bench-startup
bench-startup: $(READY) ## what each extra installs, and what `fleetgauge consume --help` takes
	@$(BIN)/python -m bench.startup $(BENCH)

.PHONY: check
check: $(READY) ## ruff (lint and format), mypy strict, unused code, content, dashboards and pages
# The cache of ruff does not notice that a module moved, and would say yes to what a clean clone refuses.
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/vulture
	@$(BIN)/python -m dashboards.build --check
	@$(BIN)/python -m dashboards.alerts --check
	@$(BIN)/fleetgauge lint
	@$(BIN)/fleetgauge contracts docs --check
	@$(BIN)/fleetgauge metrics docs --check
	@$(BIN)/python tests/integration/hostile/fault_table.py --check

.PHONY: dashboards
dashboards: $(READY) ## generate the Grafana dashboards, and what is made from the alerts, anew
	@$(BIN)/python -m dashboards.build
	@$(BIN)/python -m dashboards.alerts

.PHONY: docs
docs: $(READY) ## generate the pages on events and metrics, the schema of metrics and the tables on ingest anew
	@$(BIN)/fleetgauge contracts docs
	@$(BIN)/fleetgauge metrics docs
	@$(BIN)/python tests/integration/hostile/fault_table.py
	@$(BIN)/python -m fleetgauge.ingest.operate.ingest_tables docs/ingest.md
	@$(BIN)/python -m fleetgauge.rollup.operating.exported_series docs/operating-rollups.md

.PHONY: format
format: $(READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: up down status
up: $(READY) ## start the embedded servers and leave them running
	@$(BIN)/fleetlab up
down: $(READY) ## stop the embedded servers
	@$(BIN)/fleetlab down
status: $(READY) ## what runs, and where
	@$(BIN)/fleetlab status

.PHONY: constraints
constraints: $(READY) ## pin all dependencies anew, for Python 3.11 to 3.13
	@$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 \
		--universal --upgrade --no-annotate --no-header --no-emit-index-url --quiet -o constraints.txt
	@$(BIN)/uv pip compile bench/peers/quix.in --python-version 3.11 \
		--universal --upgrade --no-annotate --no-header --no-emit-index-url --quiet -o bench/peers/quix.txt
	@$(BIN)/uv pip compile bench/peers/dbt.in --python-version 3.11 \
		--universal --upgrade --no-annotate --no-header --no-emit-index-url --quiet -o bench/peers/dbt.txt

.PHONY: clean
clean: ## stop the servers, remove the environment and all data of the laboratory
	@test ! -x $(BIN)/fleetlab || $(BIN)/fleetlab down --wipe
	@rm -rf $(VENV) .venv-bench .venv-bench-dbt .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
