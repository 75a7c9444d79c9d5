# Every target sets up its own virtual environment in .venv on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most of what is installed is never imported, and compiling it all takes minutes.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo board test test-long test-fast coverage check lint format schemas clean

demo: $(VENV)/demo.stamp  ## train the tiny models, score them on suites/quickstart.yaml, print the table
	$(BIN)/tilbench run suites/quickstart.yaml --out demo/records --runs demo/runs

board: $(VENV)/dev.stamp demo  ## the demo's results on a page
	$(BIN)/tilbench leaderboard --records demo/records

test: $(VENV)/dev.stamp  ## every test that needs no GPU, but for those that take minutes each
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu and not long"

test-long: $(VENV)/dev.stamp  ## the tests that take minutes each
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu and long"

test-fast: $(VENV)/dev.stamp  ## the tests that take seconds
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu and not slow and not long"

coverage: $(VENV)/dev.stamp  ## the tests of make test; fails where they run fewer of the lines than pyproject.toml asks
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu and not long" --cov

lint: $(VENV)/dev.stamp  ## style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/packaging/import_rules.py
	HF_HUB_OFFLINE=1 $(BIN)/tilbench lint suites/*.yaml --strict --ignore same-task

check: lint test test-long  ## everything a reviewer runs

format: $(VENV)/dev.stamp  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(VENV)/dev.stamp  ## rewrite the JSON Schemas of suites, model specs and languages from the code
	for kind in suite model language; do $(BIN)/tilbench schema $$kind --out schemas/$$kind.json || exit; done

clean:  ## remove what the demo and the tools wrote; the environment stays
	rm -rf demo build dist .mypy_cache .pytest_cache .ruff_cache .coverage .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[hf]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/demo.stamp
