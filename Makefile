# Two commands for a newcomer: `make demo` builds, audits and describes a dataset, `make test` runs every check.
# Both make a virtual environment in .venv and need Python 3.11 or newer and a C compiler, nothing else.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint results clean

demo: .venv/.installed
	$(BIN)/augpipe build --n 300 --seed 0 --out datasets/demo --overwrite
	$(BIN)/augpipe card datasets/demo

# Two processes, each with whole files of tests: what a file's tests share is made once.
test: .venv/.installed-test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The README's table of scores: about 80 minutes on two cores; finished rows are kept. SOURCE holds ISBI 2012's stack.
SOURCE ?= data/isbi2012
results: .venv/.installed-test
	$(BIN)/python tests/benchmarks/results.py $(SOURCE)

# As `make test`, after formatting the code.
check: .venv/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(MAKE) test

lint: .venv/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info datasets/demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python requirements.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv/.installed-test: .venv/.installed requirements-test.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@
