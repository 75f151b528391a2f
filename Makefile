# Needs git, make and Python >= 3.11 with venv. Everything else is installed here, into .venv and .tools.
#
#   make demo      install, start the hub with the demo's world, tell the stories, stay up until Ctrl-C
#   make test      install what is missing, then lint, types, import contracts and every test
#   make lint      the first three of these only
#   make policies  rebuild the compiled policy (installs OPA)
#   make bench | torture | mutants     measurements; thousands of crashes; does each test notice?   ARGS="--help"
#   make clean     remove what was installed and cached; data under var/ stays

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
OPA := .tools/bin/opa
WORKERS ?= 2
BUDGET_S := 480
ARGS ?=

# uv works in .venv, with the Python that is there and the certificates that the system trusts.
UV := env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help install demo test lint policies policies-check bench torture mutants clean

help:
	@sed -n 's/^#   //p' Makefile

install: .venv/installed

.venv/installed: pyproject.toml uv.lock $(BIN)/uv
	$(UV) sync --frozen --quiet
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed; name one with: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ echo "Python's venv package is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

demo: install
	$(BIN)/hub demo $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python deploy/tools/sizes.py

test: install
	@date +%s > .venv/test-began
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not torture" --durations 15 $(ARGS)
	@took=$$(( $$(date +%s) - $$(cat .venv/test-began) )); echo "make test took $$took s of $(BUDGET_S) s"

$(OPA): deploy/tools/install_opa.sh
	PYTHON=$(PYTHON) deploy/tools/install_opa.sh
	@touch $@

policies: install $(OPA)
	$(BIN)/python deploy/build_policies.py --opa $(OPA)

policies-check: install $(OPA)
	$(BIN)/python deploy/build_policies.py --opa $(OPA) --check

bench: install
	$(BIN)/hub bench $(ARGS)

torture: install
	$(BIN)/python deploy/torture.py $(ARGS)

mutants: install
	$(BIN)/python deploy/mutants.py $(ARGS)

clean:
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
