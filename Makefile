# make demo: pick a real and two simulated micrographs, show where the pictures are.
# make test: everything that has to pass; make coverage: the same, and how much of the code the tests run.
# All set themselves up: Python 3.11 or later, make and git are enough.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin

.PHONY: demo test coverage lint docs flags clean

demo: $(VENV)/.demo
	@$(BIN)/python docs/demo/fetch_micrograph.py $(DEMO)/real || echo "Going on without a real micrograph."
	@rm -rf $(DEMO)/simulated
	$(BIN)/cryotx simulate --out $(DEMO)/simulated --micrographs 2 --seed 2
	$(BIN)/cryotx pick $(DEMO)/simulated --out $(DEMO)/simulated_picks.star --diameter 188 --restart
	$(BIN)/cryotx evaluate $(DEMO)/simulated_picks.star $(DEMO)/simulated --json $(DEMO)/simulated_picks.json
	@if [ -e $(DEMO)/real/*.mrc ]; then set -x; \
	  $(BIN)/cryotx pick $(DEMO)/real --out $(DEMO)/real_picks.star --diameter 100 --restart; fi
	@$(BIN)/python docs/demo/show_result.py $(DEMO)

test: lint
	$(BIN)/python -m pytest

coverage: lint
	COVERAGE_FILE=$(abspath .coverage) $(BIN)/python -m pytest --cov --cov-report=term:skip-covered

lint: $(VENV)/.test $(if $(shell command -v npm),node_modules/.package-lock.json)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The tables of flags in docs/*.md, from the settings.
flags: $(VENV)/.test
	$(BIN)/python docs/flags.py

clean:
	rm -rf $(DEMO) docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

# The stamps say what is installed; a changed pyproject.toml installs again.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing cryotx and PyTorch into $(VENV): a few minutes."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing cryotx, PyTorch and the development tools into $(VENV): a few minutes."
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	@touch $@ $(VENV)/.demo

# The linter of the report's JavaScript and style; without npm its test is skipped.
node_modules/.package-lock.json: package.json package-lock.json
	@npm ci --silent && touch $@ || echo "npm cannot install the linter of the report: its test is skipped." >&2

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "cryotx needs Python 3.11 or later, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }
