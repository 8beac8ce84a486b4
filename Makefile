# Two commands do everything on a fresh machine: `make run` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PYTHON ?= python3

.PHONY: run test lint bench bench-db clean

run: $(INSTALLED) ## Set up and serve on http://127.0.0.1:8765/
	@exec $(BIN)/switchboard serve

test: $(INSTALLED_DEV) ## Set up, Debian packages the tests need included, then run every test
	@./tests/install-system-packages
	$(BIN)/python -m pytest

lint: $(INSTALLED_DEV) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED_DEV) ## Measure beside the peers, in a few minutes
	$(BIN)/python -m bench

bench-db: ## Measure DbObject beside other ORMs, which get a virtual environment of their own
	@test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	@echo '*' > $(VENV)-bench/.gitignore
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)-bench/bin/python -m pip install --quiet --editable '.[mysql]' --group bench
	$(VENV)-bench/bin/python -m bench.db

clean: ## Remove what the other targets made; data/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts bench/results build dist

# A stamp file for each set-up, so that a second run starts at once.
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[mysql,nats]' --group dev
	@touch $@
