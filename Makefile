# archsearch: `make demo` and `make test` need Python 3.11+ with venv, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SPACE ?= modernbert-base-budget
POOL ?= t4,a10,l4,rtx-4090,a100-sxm-40gb,h100-sxm
CASES ?= 2000
SEED ?= 0
CONSTRAINTS := requirements/test-constraints.txt
# The tests need only torch's CPU build: TORCH_INDEX=https://download.pytorch.org/whl/cpu avoids the CUDA packages.
TORCH_INDEX ?=

LOWEST := $(VENV)-lowest
LOWEST_EXTRAS := report,samplers,dashboard,postgres,grpc,dask
LOWEST_TESTS := tests/test_cli.py tests/test_plotting_front.py tests/test_plotting_models.py \
  tests/test_plotting_searches.py tests/test_report_search.py tests/test_search_study.py tests/test_study_view.py \
  tests/test_ui_study.py
PYTHONS ?= python3.11 python3.12 python3.13
AUDIT_FLAGS ?=
EXAMPLES ?= 1000
COVERED ?= 90
EACH ?= 30

.DEFAULT_GOAL := help
.PHONY: help demo test test-services test-browser faults load fuzz lint format docs site notebooks dist audit properties coverage \
  mutants test-lowest test-installs bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "archsearch needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Use make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-tests: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev,docs,models]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-services: $(VENV)/.installed-tests
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev,postgres,grpc,dask]'
	@touch $@

$(VENV)/.installed-browser: $(VENV)/.installed-tests
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev,ui,dashboard]'
	@touch $@

demo: $(VENV)/.installed ## run a real study and print recommended dimensions
	$(BIN)/archsearch study run $(SPACE) --hardware $(POOL) --name demo --overwrite
	$(BIN)/archsearch recommend demo --top 5

test: $(VENV)/.installed-tests ## run the tests
	$(BIN)/python -m pytest

test-services: $(VENV)/.installed-services ## run the tests that need PostgreSQL, gRPC and Dask
	sh tests/services/install-postgresql.sh
	$(BIN)/python -m pytest -n 0 -m services tests/services

faults: $(VENV)/.installed-services ## kill verbs, fill disks, restart PostgreSQL (as root: it mounts small disks), half an hour
	sh tests/services/install-postgresql.sh
	$(BIN)/python tests/faults $(FAULTS)

load: $(VENV)/.installed-services ## sixteen workers on PostgreSQL, a study of 200,000 trials, a report of 50,000 points
	sh tests/services/install-postgresql.sh
	$(BIN)/python tests/load $(LOAD)

test-browser: $(VENV)/.installed-browser ## run the tests of what a browser shows, in Chromium
	sh tests/browser/install-chromium.sh
	$(BIN)/python -m pytest -n 0 -m browser tests/browser

fuzz: $(VENV)/.installed-tests ## bad files and odd options in every reader and verb: CASES=100000 tries as many (2000)
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -n 0 -s tests/fuzz

lint: $(VENV)/.installed-tests ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-tests ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-tests ## run the examples and tables of README.md and docs/ anew
	$(BIN)/python benchmarks/docs.py

site: $(VENV)/.installed-tests ## the documentation as a site in build/site; fails on a broken link
	$(BIN)/python benchmarks/site_pages.py
	$(BIN)/zensical build --strict --clean

notebooks: $(VENV)/.installed-tests ## execute the notebooks and store what they print and draw
	$(BIN)/python benchmarks/notebooks.py

dist: $(VENV)/.installed-tests ## wheel and sdist in dist/, built twice; fails where the builds differ by a byte
	$(BIN)/python checks/build_twice.py

$(VENV)/.installed-checks: $(VENV)/.installed-services $(VENV)/.installed-browser
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[checks]'
	@touch $@

audit: $(VENV)/.installed-checks ## bandit, licences and known vulnerabilities of what is installed
	$(BIN)/python checks/audit.py $(AUDIT_FLAGS)

properties: $(VENV)/.installed-tests ## what holds of every price, on EXAMPLES random models and boards for each property
	PROPERTIES=$(EXAMPLES) $(BIN)/python -m pytest -n 0 --hypothesis-show-statistics tests/test_invariants.py

coverage: $(VENV)/.installed-checks ## branch coverage of the tests; fails under COVERED percent
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 0
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --sort=cover --fail-under=$(COVERED)

mutants: $(VENV)/.installed-checks ## do the tests notice wrong code? EACH mutants of each module of cost/ and search/
	$(BIN)/python checks/mutants.py --each $(EACH)

$(LOWEST)/.installed: pyproject.toml requirements/lowest.txt
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint requirements/lowest.txt --editable '.[$(LOWEST_EXTRAS)]' \
	  pytest pytest-xdist hypothesis
	@touch $@

test-lowest: $(LOWEST)/.installed ## the command line, searches, pictures, reports and pages on the lowest dependencies
	$(LOWEST)/bin/python -m pytest -p no:warnings $(LOWEST_TESTS)
	$(LOWEST)/bin/python -m pytest -p no:warnings -n 0 -m services tests/services/test_dask.py

test-installs: $(VENV)/.installed-checks ## the wheel, alone and with each extra, in new environments of PYTHONS
	$(BIN)/python checks/installs.py $(PYTHONS)

bench: $(VENV)/.installed-tests ## speed of starting, costing and searching
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/samplers.py

clean: ## remove the environment and caches
	rm -rf $(VENV) $(LOWEST) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
