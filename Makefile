# Every target sets up .venv by itself on first use, from the machine's python3.
# Options go in ARGS: make demo ARGS="--seconds 20 --rate 50 --json"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test lint format bench chaos docs schema lock clean

help:
	@echo "make demo | test | lint | format | bench | chaos | docs | schema | lock | clean   (ARGS=\"…\" is passed on)"

$(READY): requirements.lock pyproject.toml
	@echo "Setting up .venv (once) …" >&2
	@$(PYTHON) -c 'import sys; sys.exit("Telewarden needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	@$(BIN)/telewarden demo $(ARGS)

# Without ARGS: in two lanes, then the chaos tests that need the machine to themselves.
ALONE := $(addprefix tests/chaos/test_,main_job.py cache_topology.py worker_faults.py workers.py)

test: $(READY)
ifeq ($(strip $(ARGS)),)
	@status=0; \
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(ALONE)) || status=1; \
	$(BIN)/pytest $(ALONE) || status=1; \
	exit $$status
else
	@$(BIN)/pytest $(ARGS)
endif

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests docs/check.py
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	@$(BIN)/telewarden bench $(ARGS)

chaos: $(READY)
	@$(BIN)/pytest tests/chaos tests/simulation --chaos-full $(ARGS)

docs: $(READY)
	@$(BIN)/python docs/check.py $(ARGS)

# What `telewarden db check` expects; after a change of the migrations.
schema: $(READY)
	@$(BIN)/python -m telewarden.sandbox.expected_schema

# The lock carries hashes and no addresses.
lock: $(READY)
	$(BIN)/uv export --quiet --all-extras --format requirements-txt --no-emit-project --no-annotate --no-header \
		--no-emit-index-url -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
