# Two commands for a newcomer: `make demo` builds, audits and describes a dataset, `make test` runs every check.
# Both make a virtual environment in .venv and need Python 3.11 or newer and a C compiler, nothing else.
# CONTRIBUTING.md says what the other targets are for.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: demo test coverage portable check lint results leaks peers mutants hostile clean

demo: $(VENV)/.installed
	$(BIN)/augpipe build --n 300 --seed 0 --out datasets/demo --overwrite
	$(BIN)/augpipe card datasets/demo

# Two processes, each with whole files of tests: what a file's tests share is made once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
test: $(VENV)/.installed-test lint
	$(PYTEST)

# As `make test`, and which lines no test has run: a fifth slower, so that CI alone does it.
coverage: $(VENV)/.installed-test lint
	$(PYTEST) --cov --cov-report term:skip-covered

# What does not train, without the extra `train`: for a second Python, in a virtual environment of its own.
portable: $(VENV)/.installed-portable
	$(PYTEST) tests/augment tests/pipeline/plan tests/pipeline/shards tests/pipeline/source tests/pipeline/build

# As `make test`, after formatting the code.
check: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(MAKE) test

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The README's table of scores: about 80 minutes on two cores; finished rows are kept. SOURCE holds ISBI 2012's stack.
SOURCE ?= data/isbi2012
results: $(VENV)/.installed-test
	$(BIN)/python tests/benchmarks/results.py $(SOURCE)

# docs/leaks.md: which leaks are found, by the audit and by others, and how many false alarms there are. SOURCE and FIELDS
# hold ISBI 2012's stacks and BBBC039's fields. The others' packages clash with ours, so they get an environment too.
FIELDS ?= data/bbbc039
leaks: $(VENV)/.installed-test
	test -d .venv-leaks || $(PYTHON) -m venv .venv-leaks
	.venv-leaks/bin/pip install --quiet --disable-pip-version-check imagehash pdqhash 'perception[approximate-deduplication]'
	$(BIN)/python tests/benchmarks/bench_leaks.py --isbi $(SOURCE) --bbbc039 $(FIELDS) --pairs --write docs/leaks.md \
		--peers-python .venv-leaks/bin/python

# The tables of docs/speed.md: five minutes. The libraries compared have many of their own, so an environment too.
peers:
	test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	.venv-peers/bin/python tests/benchmarks/bench_peers.py --write docs/speed.md

# Do the tests find planted faults? Half an hour at most; cosmic-ray has libraries of its own, so an environment too.
SEED ?= 0
PER_ROOM ?= 25
mutants: $(VENV)/.installed-test
	test -d .venv-mutants || $(PYTHON) -m venv .venv-mutants
	.venv-mutants/bin/pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0
	.venv-mutants/bin/python tests/mutation/mutants.py --python $(BIN)/python --seed $(SEED) --per-room $(PER_ROOM)

# Are damaged PNG, JPEG, HDF5 and Zarr inputs, INPUTS of each, typed errors or read as other libraries read them? With
# 3,000 of each about twenty minutes.
INPUTS ?= 3000
hostile: $(VENV)/.installed-test
	$(BIN)/python tests/pipeline/source/mutated_inputs.py --n $(INPUTS) --seed $(SEED)

clean:
	rm -rf .venv .venv-* build *.egg-info .coverage datasets/demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python requirements.txt pyproject.toml
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps --editable .
	touch $@

$(VENV)/.installed-portable: $(VENV)/.installed requirements-test.txt
	$(PIP) install -r requirements-test.txt
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed-portable requirements-train.txt
	$(PIP) install -r requirements-train.txt
	touch $@
