# Everything from a fresh machine: each target makes .venv and installs what it needs by itself.
PYTHON ?= python3
BIN := .venv/bin
# A process a core, each with one thread of arithmetic: the same tests in half the time, and no results that hang on the machine.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo app test test-app test-slow test-docs planted-bugs kill-test soak lint format bench clean

demo: .venv/installed-search  ## draw dancers, then train, evaluate, predict, make a timeline and search, offline
	$(BIN)/quickstep demo demo

app: .venv/installed-app      ## the web app, on the demo's model: make app MODEL=models/mine for another
	$(BIN)/quickstep app $(MODEL)

test: .venv/installed         ## the fast tests
	$(PYTEST) --dist loadfile

test-slow: .venv/installed    ## the tests that take longer
	$(PYTEST) -m slow

test-app: .venv/installed     ## the web app in a real browser (Chromium)
	$(BIN)/python -m pytest -m browser tests/apps/web
	$(BIN)/python -m pytest -m browser tests/apps/server

test-docs: .venv/installed    ## what the documents tell people to type
	$(PYTEST) -m '' tests/test_docs.py

planted-bugs: .venv/installed ## which of the bugs of tests/planted_bugs.toml the tests catch (an hour or more)
	$(BIN)/python tests/planted_bugs.py

kill-test: .venv/installed    ## kill every command 100 times, and compare the end; resumes: make kill-test KILLS=1000 SEED=2
	OMP_NUM_THREADS=1 $(BIN)/python tests/kill_test.py --kills $(or $(KILLS),100) --seed $(or $(SEED),1)

soak: .venv/installed         ## 20,000 mixed requests to one service, which may not grow (an hour or more)
	$(BIN)/python -m benchmarks.service_soak --requests 20000

fuzz: .venv/installed         ## read damaged videos of every container: make fuzz SEEDS=0-100000 (resumable by ranges)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py --seeds $(or $(SEEDS),0-1000)

lint: .venv/installed         ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed       ## bring the code into its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-bench  ## tables of speed and accuracy, as ratios within one run
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "quickstep needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/installed-search: .venv/ready
	$(INSTALL) --editable '.[search]'
	touch $@

.venv/installed-app: .venv/ready
	$(INSTALL) --editable '.[app]'
	touch $@

.venv/installed: .venv/ready
	$(INSTALL) --editable '.[dev]'
	touch $@

.venv/installed-bench: .venv/installed
	$(INSTALL) --editable '.[dev,bench,openvino]'
	touch $@
