# Every target prepares what it needs (tools/setup.sh); the second run finds it prepared.

VENV ?= .venv
PYTHON ?=
HOST ?= 127.0.0.1
PORT ?= 8080
ROOT ?= data/files
DATA ?= data/kv
# how many tests run at once (pytest-xdist), and anything else for pytest: make test ARGS="tests/pool -k cancel"
JOBS ?= auto
ARGS ?=

setup = VENV="$(VENV)" PYTHON="$(PYTHON)" tools/setup.sh

.DEFAULT_GOAL := help
.PHONY: help serve test lint bench docs clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile
	@echo "variables: PYTHON VENV; serve: HOST PORT ROOT DATA; test: JOBS ARGS; bench: ARGS"

serve: ## serve the files in ROOT and the keys in DATA over HTTP on HOST:PORT
	@$(setup) serve
	@exec "$(VENV)/bin/asyncstore" serve --root "$(ROOT)" --data "$(DATA)" --host "$(HOST)" --port "$(PORT)"

test: ## run the tests
	@$(setup) test
	@"$(VENV)/bin/python" -m pytest -n $(JOBS) $(ARGS)

lint: ## check style, formatting and types
	@$(setup) lint
	"$(VENV)/bin/ruff" check
	"$(VENV)/bin/ruff" format --check
	"$(VENV)/bin/mypy" --strict
	@if command -v shellcheck >/dev/null; then shellcheck tools/*.sh .ci/run; else sh -n tools/setup.sh && bash -n .ci/run; fi

bench: ## measure beside the peers and print the tables
	@$(setup) bench
	@"$(VENV)/bin/python" -m bench $(ARGS)

docs: ## build the documentation into docs/_build/html; a warning is an error
	@$(setup) docs
	@"$(VENV)/bin/python" -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean: ## remove what was made here, except data/
	rm -rf "$(VENV)" build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find asyncstore tests -name __pycache__ -type d -prune -exec rm -rf {} +
