# Two commands do everything on a fresh machine: `make run` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PYTHON ?= python3

# The benchmarks' peers get a virtual environment of their own, and a folder for what runs on Node.
BENCH := $(VENV)-bench
NODE := bench/node
INSTALLED_BENCH := $(BENCH)/.installed
INSTALLED_NODE := $(NODE)/node_modules/.installed

.PHONY: run test lint bench bench-full bench-check bench-db clean

run: $(INSTALLED) ## Set up and serve on http://127.0.0.1:8765/
	@exec $(BIN)/switchboard serve

test: $(INSTALLED_DEV) ## Set up, Debian packages the tests need included, then run every test
	@./tests/install-system-packages
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(INSTALLED_DEV) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED_BENCH) $(INSTALLED_NODE) ## Measure beside the peers, in a few minutes
	$(BENCH)/bin/python -m bench

bench-full: $(INSTALLED_BENCH) $(INSTALLED_NODE) ## The same with everything there is to measure; goes on for long
	$(BENCH)/bin/python -m bench --full

bench-check: $(INSTALLED_BENCH) ## Is it as fast as it was?
	$(BENCH)/bin/python -m bench.check

bench-db: $(INSTALLED_BENCH) ## Measure DbObject beside other ORMs
	$(BENCH)/bin/python -m bench.db

clean: ## Remove what the other targets made; data/ stays
	rm -rf $(VENV) $(BENCH) $(NODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts \
		bench/results build dist

# A stamp file for each set-up, so that a second run starts at once.
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[mysql,nats]' --group dev
	@touch $@

$(INSTALLED_BENCH): pyproject.toml
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@echo '*' > $(BENCH)/.gitignore
	$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --editable '.[mysql]' --group bench
	@touch $@

# Without npm there is no stamp: the reason is said each time. A lock file would name the host it was made with.
$(INSTALLED_NODE): $(NODE)/package.json
	@if command -v npm > /dev/null; then \
		npm install --prefix $(NODE) --no-audit --no-fund --no-package-lock && touch $@; \
	else \
		echo 'There is no npm here: the peers that run on Node do not take part.'; \
	fi
