# `make` lists the targets. The virtual environment is made on first use and again when the requirements change.
PYTHON ?= python3
VENV ?= .venv
EXTRA ?= worker
WORKERS ?= auto
PYTEST = $(VENV)/bin/python -m pytest
COVERAGE = $(if $(TESTS),,--cov=shared --cov-fail-under=95)
OR_NONE = $(if $(TESTS),|| test $$? -eq 5)  # pytest's exit status when TESTS selects nothing
REQUIREMENTS = pyproject.toml constraints.txt deploy/install.py
.DEFAULT_GOAL := help
.PHONY: help install up test test-page lint types check compose-test chaos overload soak fuzz audit bench train-smoke format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

install: $(VENV)/.$(EXTRA) ## install everything, start nothing (EXTRA=worker, training or dev)

up: $(VENV)/.worker ## run Sakuga on this machine: queue, workers, page (SAKUGA_PORT=8000, UP=--lan)
	@exec $(VENV)/bin/sakuga up $(UP)

test: check test-page ## lint, types, all tests, coverage (TESTS=pytest options, WORKERS=processes)
	$(PYTEST) -m alone $(TESTS) $(OR_NONE)
	$(PYTEST) --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone" $(COVERAGE) $(TESTS) $(OR_NONE)

test-page: $(VENV)/.dev ## test the page's modules without a browser
	$(VENV)/lib/python*/site-packages/playwright/driver/node --test --test-reporter dot tests/page/*.test.js

check: lint types

lint: $(VENV)/.dev ## style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.dev ## strict type check
	$(VENV)/bin/mypy

compose-test: $(VENV)/.dev ## build and test the containers (needs a Docker engine)
	$(VENV)/bin/python deploy/compose_test.py

chaos: $(VENV)/.dev ## kill, pause, cut off and fill everything under load, 15 minutes (CHAOS=words in titles)
	$(VENV)/bin/python -m tests.chaos $(CHAOS)

overload: $(VENV)/.dev ## ten times as many photos as can be converted, for five minutes
	$(VENV)/bin/python -m tests.chaos.overload $(OVERLOAD)

soak: $(VENV)/.dev ## ten thousand jobs; memory, files, keys and disk usage must not grow
	$(VENV)/bin/python -m tests.chaos.soak $(SOAK)

fuzz: $(VENV)/.dev ## hostile input for longer than in `test`: MINUTES=2 per test (SEED= as printed by a failure)
	FUZZ_MINUTES=$(or $(MINUTES),2) FUZZ_SEED=$(SEED) $(PYTEST) tests/test_fuzz.py --timeout 0 --capture sys

audit: $(VENV)/.dev ## check the pinned versions for known vulnerabilities (needs the network)
	$(VENV)/bin/python deploy/audit.py $(AUDIT)

bench: $(VENV)/.dev ## measure engines, stages, service and queue in one run, half an hour; writes bench.json (BENCH=options)
	$(VENV)/bin/python -m benchmarks $(BENCH)

train-smoke: $(VENV)/.dev ## the whole training recipe in miniature; the loss must fall
	$(VENV)/bin/python -m training.smoke

format: $(VENV)/.dev ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(VENV)/.dev ## pin the installed versions of pyproject.toml's requirements in constraints.txt
	$(VENV)/bin/python deploy/lock.py

clean: ## remove the virtual environment and caches (never your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info .coverage

# what the extra is called is the end of the name; every extra includes `worker`
$(VENV)/.worker $(VENV)/.training $(VENV)/.dev: $(REQUIREMENTS)
	@$(PYTHON) deploy/install.py $(VENV) $(@F:.%=%)
	@touch $@ $(VENV)/.worker
