# Thin by intent: the work is in `xdsi` and pytest.
# The first Python of the range that really runs (a shim may be there without its Python).
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$candidate && break; done)
BIN := .venv/bin

.PHONY: setup viewer ohif demo test lint check audit bench conform fuzz lock

setup: .venv/ready

.venv/ready: requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; install one, or name it: make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The viewer of the pages, where Node is; wheels hold it.
viewer: setup
	$(BIN)/python consumer/viewer/build.py

# OHIF beside it, into ./var as the services of this folder have it; npm verifies what it brings, and so does xdsi.
ohif: setup
	mkdir -p var && cd var && npm pack --silent @ohif/app@3.13.2
	$(BIN)/xdsi ohif var/ohif-app-3.13.2.tgz

demo: setup
	@$(BIN)/xdsi demo

# A file stays with one of the workers, since its tests share what they start, and is read by this one alone
# (tests/support/scheduling.py); so nobody knows beforehand how many tests there are, for percents.
PARALLEL := -n auto --dist loadfile --durations 10 --override-ini console_output_style=classic

# What talks to other processes is tried twice, and the run says so (docs/decisions/0094).
test: setup
	$(BIN)/pytest $(PARALLEL) --reruns 1

# What needs no running code: format, lint, types, who imports whom.
lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# And the rules of the house: what holds for every module, page and message, whatever it does.
check: lint
	$(BIN)/pytest $(PARALLEL) tests/unit/project

# Known weaknesses of what runs, where somebody can be asked.
audit: setup
	@deploy/audit.sh

bench: setup
	@for program in bench/*.py; do $(BIN)/python $$program --short || exit 1; done

# Every plan against our own services.
conform: setup
	@$(BIN)/xdsi conform --self --junit conform.xml --html conform.html 2>/dev/null

# Long: a million messages by chance, and a million that atheris chooses; 200,000 of each for validators.
fuzz: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	$(BIN)/pytest --long tests/faults/test_mtom_fuzz.py tests/faults/test_judge_fuzz.py -s

# What runs, for images and hosts; and what develops it, of the same versions.
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate pyproject.toml

lock: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) -o requirements.lock
	$(LOCK) --extra dev --constraint requirements.lock -o requirements-dev.lock
