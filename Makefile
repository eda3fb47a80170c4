# `make` lists the targets. The virtual environment is made on first use and again when the requirements change.
PYTHON ?= python3
VENV ?= .venv
REQUIREMENTS = pyproject.toml constraints.txt deploy/install.py
.DEFAULT_GOAL := help
.PHONY: help up test lint types check compose-test format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

up: $(VENV)/.serving ## run Sakuga here: queue, workers, page (SAKUGA_PORT=8000)
	@exec $(VENV)/bin/sakuga up

test: check ## everything CI runs: lint, types, tests
	$(VENV)/bin/python -m pytest $(TESTS)

check: lint types

lint: $(VENV)/.developing ## style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.developing ## strict type check
	$(VENV)/bin/mypy

compose-test: $(VENV)/.developing ## build and exercise the containers (needs a Docker engine)
	$(VENV)/bin/python deploy/compose_test.py

format: $(VENV)/.developing ## rewrite the code in the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(VENV)/.developing ## write the versions installed here into constraints.txt
	$(VENV)/bin/python -m pip freeze --exclude-editable | grep -vE '^(torch|uv|sakuga)\b' > constraints.txt

clean: ## remove the virtual environment and caches (never your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info

$(VENV)/.serving: $(REQUIREMENTS)
	@$(PYTHON) deploy/install.py $(VENV) worker
	@touch $@

$(VENV)/.developing: $(REQUIREMENTS)
	@$(PYTHON) deploy/install.py $(VENV) dev
	@touch $@ $(VENV)/.serving
