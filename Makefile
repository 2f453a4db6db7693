# Needs Python 3.11 or newer and make; everything else is fetched into .venv, checked by hash.
.DEFAULT_GOAL := help
.PHONY: help demo up down status logs test test-stories test-escrow test-others soak check bench fmt migrate lock
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
MEMBERS := libs/shared services/identity services/listings services/contracts services/escrow \
	deploy/local deploy/simulators
IMAGE := $(filter-out deploy/local,$(MEMBERS))
PYPROJECTS := pyproject.toml $(MEMBERS:%=%/pyproject.toml)
CODE := libs services deploy tests bench
BENCHES = $(patsubst bench/%.py,%,$(wildcard bench/*.py))
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-header --no-annotate $(foreach member,shared identity listings contracts escrow bloxtr8 \
	simulators,--no-emit-package $(member))
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## carry one trade from sign-in to payout and show each step
	@$(BIN)/bloxtr8 demo

up: $(READY) ## start the whole stack and leave it running
	@$(BIN)/bloxtr8 up

down: $(READY) ## stop the stack; its data stays
	@$(BIN)/bloxtr8 down

status: $(READY) ## show every part of the stack
	@$(BIN)/bloxtr8 status

logs: $(READY) ## follow the logs of the stack, or of one process: NAME=...
	@$(BIN)/bloxtr8 logs --follow $(NAME)

migrate: $(READY) ## bring the schemas of the running stack to the newest revision
	@$(BIN)/bloxtr8 migrate

# Three parts side by side, each with a stack of its own: two cores are busy until the end, as the
# stories often wait and the others compute. A part's report is shown when the part is done; make
# fails when one fails or is killed, and Ctrl-C ends all.
test: $(READY) ## run every test, against stacks of their own
	@$(MAKE) --jobs=3 --keep-going $(filter --output-sync,$(.FEATURES:%=--%)) \
		test-stories test-escrow test-others

test-stories:
	@$(BIN)/pytest tests/e2e

test-escrow:
	@$(BIN)/pytest services/escrow tests --ignore=tests/e2e

test-others:
	@$(BIN)/pytest libs deploy services --ignore=services/escrow

soak: $(READY) ## play RUNS=1000 trades' chaos from SEED=1 with workers that are killed
	@$(BIN)/python -m tests.chaos.soak

check: $(READY) ## lint, types, architecture, event schemas, compose file, image recipe
	$(call say,ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	$(call say,mypy)
	@$(BIN)/mypy $(CODE)
	$(call say,architecture)
	@$(BIN)/lint-imports
	@$(BIN)/python deploy/checks/code.py libs services deploy
	$(call say,published events)
	@$(BIN)/python deploy/checks/events.py check
	$(call say,spelling)
	@$(BIN)/codespell
	$(call say,locks and project files)
	@$(BIN)/python deploy/checks/projects.py
	$(call say,compose file and image recipe)
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/hadolint deploy/Dockerfile
	@echo 'make check: all good'

bench: $(READY) ## run one measurement: make bench NAME=...
	@if [ -z '$(filter $(BENCHES),$(NAME))' ]; then \
		echo 'make bench NAME=<one of: $(BENCHES)>' >&2; exit 2; fi
	@$(BIN)/python -P 'bench/$(NAME).py'

fmt: $(READY) ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: $(READY) ## resolve the dependencies again; UPGRADE=1 takes the newest
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group dev $(PYPROJECTS) -o requirements.lock
	@$(COMPILE) -c requirements.lock $(IMAGE:%=%/pyproject.toml) deploy/image.in -o deploy/image.lock

# uv keeps the environment exactly as locked; the members are linked, so edits need no reinstall.
$(READY): requirements.lock deploy/bootstrap.lock $(PYPROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Bloxtr8 needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) -V 2>&1`." >&2; \
		echo "Name another one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(call say,preparing .venv)
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r deploy/bootstrap.lock
	@$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
		$(MEMBERS:%=-e %)
	@touch $@
