# Every target needs nothing but make and Python 3.11 or later; the first one that runs makes a virtual environment.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

CSV   ?= examples/heart_rate.csv
USER_COLUMN  ?= User
TIME_COLUMN  ?= Time
VALUE_COLUMN ?= HeartRate
OUT   ?= build/outliers.csv

# The tests that draw at random: the same each time in `make test`, others each time in `make prove`.
DRAWN := $(wildcard $(addprefix tests/test_,$(addsuffix .py,\
	spec decide memory_log memory_internals offsets deadlines due earliest shared_bound compat_plain backoff \
	codec vfs sqlite_log sqlite_spec kill_campaign sqlite_faults sqlite_power sqlite_damage \
	postgres_log postgres_spec postgres_faults postgres_retries postgres_campaign)))

.PHONY: help demo test lint types imports diagrams diagrams-check bench bench-quick fuzz prove guarantees mutants clean

help:  ## show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "holdover needs Python 3.11 or later; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the main job on a sample of heart rates (or CSV=... USER_COLUMN=... ), then the lost update, seen
	@mkdir -p $(dir $(OUT))
	$(BIN)/holdover replay $(CSV) --user $(USER_COLUMN) --time $(TIME_COLUMN) --value $(VALUE_COLUMN) --output $(OUT)
	$(BIN)/holdover demo

test: $(READY)  ## the tests, the examples in docstrings and README, and full branch coverage
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term-missing:skip-covered --cov-fail-under=100 --durations=8

lint: $(READY)  ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)  ## types
	$(BIN)/mypy

imports: $(READY)  ## the directions in which modules may import each other
	$(BIN)/lint-imports

diagrams: $(READY)  ## draw the lifecycle anew and fail if that changed anything
	$(BIN)/holdover diagram --check || { $(BIN)/holdover diagram; exit 1; }

diagrams-check: $(READY)
	$(BIN)/holdover diagram --check

prove: $(READY)  ## for longer: every interleaving, every crash point, simulations, kills, faults; the figures of docs/guarantees.md
	@mkdir -p build && rm -f build/tried.json
	HOLDOVER_PROFILE=prove HOLDOVER_TRIED=build/tried.json $(BIN)/python -m pytest -n 3 --dist worksteal --durations=20 \
		--ignore tests/proof/test_guarantees.py tests/proof tests/test_exhaustive.py $(DRAWN)
	mv build/tried.json docs/tried.json
	$(BIN)/python tests/proof/guarantees.py

guarantees: $(READY)  ## make docs/guarantees.md and the README's table anew, of docs/guarantees.toml and the last figures
	$(BIN)/python tests/proof/guarantees.py

$(VENV)/.mutants: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,mutants]'
	@touch $@

mutants: $(VENV)/.mutants  ## change the code in thousands of small ways: do the tests notice? (JOBS=4; ONLY=statemachine/_state.py)
	$(BIN)/python tests/proof/mutation.py --jobs $(or $(JOBS),1) $(ONLY)

bench: $(READY)  ## what it costs, beside what is usual: benchmarks/RESULTS.md and plots, in less than ten minutes
	$(BIN)/python -m benchmarks

bench-quick: $(READY)  ## the same for who works on it: smaller, coarse, only printed (ONLY=durable for a section)
	$(BIN)/python -m benchmarks --quick $(addprefix --only ,$(ONLY))

fuzz: $(READY)  ## for minutes (or SECONDS=...): inputs guided by what they reach, to the codec and the CSV reader
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	for target in decoding reading; do \
		$(BIN)/python tests/proof/fuzz.py $$target -max_total_time=$(or $(SECONDS),300) -max_len=4096 -artifact_prefix=build/fuzz/ build/fuzz/$$target || exit 1; \
	done

clean:  ## remove what the targets made
	rm -rf $(VENV) build .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
