# Needs git, make and Python >= 3.11 with venv. Everything else is installed here, into .venv and .tools.
#
#   make demo      install, start the hub with the demo's world, tell the stories, stay up until Ctrl-C
#   make demo ENGINES=real   the same over PostgreSQL, Kafka and OPA, which it installs, starts, and ends with the demo
#   make test      install what is missing, then lint, types, import contracts and every test
#   make test ENGINES=required   the same, and what needs PostgreSQL, Kafka or OPA fails where it is not to be had
#   make assets    build what the citizens' pages are dressed in, where it is not up to date (npm packages; node comes as a wheel)
#   make screenshots   a picture of every page in every language, on a phone and a desktop, under var/screenshots
#   make engines   bring up PostgreSQL, Kafka and OPA on loopback, and print a hub's settings for them
#   make engines-down   end exactly these; their data under var/engines stay
#   make lint      the first three of test only
#   make asyncapi  install the official AsyncAPI parser, which one test asks (needs node and npm)
#   make chart     render the Helm chart and have Helm check it (installs Helm)
#   make policies  rebuild the compiled policy (installs OPA)
#   make promises  the promises' tests, each beside how it did on every set of engines
#   make bench | torture | mutants     measurements; thousands of crashes; does each test notice?   ARGS="--help"
#   make bench ENGINES=real  what is measured over PostgreSQL, Kafka and OPA
#   make clean     remove what was installed and cached; data under var/ stays

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
OPA := .tools/bin/opa
KAFKA := .tools/kafka
HELM := .tools/bin/helm
STATIC := hub/web/static/built
ASYNCAPI := .tools/asyncapi/node_modules
WORKERS ?= 2
BUDGET_S := 1500
# of the tests, `required`: those of the real engines fail where these are not installed, instead of being skipped;
# of the demo and the benchmarks, `real`: over these engines
ENGINES ?=
# what OPA is told at its start by `make engines`: a JSON file of OPA's own configuration
OPA_CONFIG ?=
ARGS ?=

# uv works in .venv, with the Python that is there and the certificates that the system trusts.
UV := env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help install assets screenshots demo test lint lint-ruff lint-format lint-types lint-imports lint-sizes
.PHONY: engines engines-down chart asyncapi policies policies-check promises bench torture mutants clean

help:
	@sed -n 's/^#   //p' Makefile

install: .venv/installed assets

.venv/installed: pyproject.toml uv.lock $(BIN)/uv
	$(UV) sync --frozen --quiet
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed; name one with: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ echo "Python's venv package is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

assets: $(STATIC)

# No registry at hand, no style sheets: the pages work without, and whatever else is made here does not wait for them.
$(STATIC): .venv/installed deploy/build_assets.py $(wildcard hub/web/assets/*)
	@$(BIN)/python deploy/build_assets.py || echo "make assets: the citizens' pages stay plain for now" >&2

screenshots: install
	$(BIN)/python -m tests.portal_screenshots $(ARGS)

demo: install $(if $(filter real,$(ENGINES)),$(OPA) $(KAFKA))
	$(BIN)/hub demo $(if $(filter real,$(ENGINES)),--engines real) $(ARGS)

lint: lint-ruff lint-format lint-types lint-imports lint-sizes

lint-ruff: install
	$(BIN)/ruff check .
lint-format: install
	$(BIN)/ruff format --check .
lint-types: install
	$(BIN)/mypy
lint-imports: install
	$(BIN)/lint-imports --no-logo
lint-sizes: install
	$(BIN)/python deploy/tools/sizes.py

# Everything runs even when the lint fails, so that one run tells it all; pytest's closing line is the last when all is well.
# What was skipped stands before it with its reason (-rs): a skipped test that nobody notices is a defect.
test: install $(if $(filter required,$(ENGINES)),$(OPA) $(KAFKA) $(HELM))
	@began=$$(date +%s); failed=0; \
	$(MAKE) --no-print-directory --keep-going lint || failed=1; \
	left=$$(( $(BUDGET_S) - $$(date +%s) + began )); echo "$$left s left for the tests of the $(BUDGET_S) s that all may take"; \
	ENGINES=$(ENGINES) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not torture" --durations 15 -rs $(ARGS) || failed=1; \
	if [ $$failed != 0 ]; then echo "make test: something above failed" >&2; fi; exit $$failed

$(OPA): deploy/tools/install_opa.sh deploy/tools/find_go.sh
	PYTHON=$(PYTHON) deploy/tools/install_opa.sh
	@touch $@

# Every engine is real and listens on 127.0.0.1 only; deploy/engines/README.md says what is pinned where.
engines: install $(OPA) $(KAFKA)
	@$(BIN)/python -m deploy.engines.up $(if $(OPA_CONFIG),--opa-config $(OPA_CONFIG))

engines-down: install
	@$(BIN)/python -m deploy.engines.up --down

$(KAFKA): deploy/engines/install_kafka.sh deploy/engines/pom.xml
	deploy/engines/install_kafka.sh
	@touch $@

$(HELM): deploy/tools/install_helm.sh deploy/tools/find_go.sh
	PYTHON=$(PYTHON) deploy/tools/install_helm.sh
	@touch $@

.tools/bin/promtool: deploy/tools/install_promtool.sh
	deploy/tools/install_promtool.sh
	@touch $@

chart: install $(HELM)
	ENGINES=required $(BIN)/python -m pytest -q tests/test_helm.py

asyncapi: $(ASYNCAPI)

$(ASYNCAPI): deploy/tools/install_asyncapi.sh deploy/tools/asyncapi/package-lock.json deploy/tools/asyncapi/check.mjs
	deploy/tools/install_asyncapi.sh
	@touch $@

policies: install $(OPA)
	$(BIN)/python deploy/build_policies.py --opa $(OPA)

policies-check: install $(OPA)
	$(BIN)/python deploy/build_policies.py --opa $(OPA) --check

promises: install
	$(BIN)/python deploy/promises.py $(ARGS)

bench: install $(if $(filter real,$(ENGINES)),$(OPA) $(KAFKA))
	$(BIN)/hub bench $(if $(filter real,$(ENGINES)),--engines real) $(ARGS)

torture: install
	$(BIN)/python deploy/torture.py $(ARGS)

mutants: install
	$(BIN)/python deploy/mutants.py $(ARGS)

clean:
	rm -rf .venv .tools hub/web/static build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
