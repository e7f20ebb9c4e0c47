# `make serve` and `make test` need nothing but Python >= 3.11 and make.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt --editable

.PHONY: serve test coverage lint types lock clean

serve: .venv/serve.stamp
	$(BIN)/clearsky serve --host $(HOST) --port $(PORT)

test: .venv/test.stamp
	$(BIN)/python -m pytest $(ARGS)

# After `make test ARGS="--cov --cov-report="`: the total, and the modules of which less than 90 % ran.
coverage: .venv/test.stamp
	@$(BIN)/python -m coverage report --sort=cover | awk 'NR <= 2 || /^TOTAL/ || $$NF + 0 < 90'

lint: .venv/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/lint.stamp
	$(BIN)/mypy

# The lock file: every version the suite last passed with, so that a build a year from now still works.
lock: .venv/lock.stamp
	$(PIP) freeze --exclude-editable > constraints.txt

.venv/python.stamp:
	$(PYTHON) -c 'import sys; sys.exit("ClearSky needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv/serve.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(INSTALL) .
	touch $@

.venv/test.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(INSTALL) '.[test,fast]'
	touch $@ .venv/serve.stamp

.venv/lint.stamp: .venv/test.stamp
	$(INSTALL) '.[test,fast,lint]'
	touch $@

.venv/lock.stamp: .venv/python.stamp pyproject.toml
	$(PIP) install --quiet --upgrade --editable '.[test,fast,lint,bench]'
	touch $@

clean:
	rm -rf .venv
