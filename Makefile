# Everything a clone needs is installed on the way, into .venv, .venv-plugins, .tools and
# web/node_modules; downloads are kept in the user's cache folder. `make` alone lists the targets.

PY := .venv/bin/python
NPM := sh scripts/npm.sh
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
PLUGINS := .venv-plugins/.installed
BROWSER := .venv/.chromium
TURN := .venv/.turnserver
NFT := .venv/.nft
NODE_MODULES := web/node_modules/.installed
PAGE := src/mulisa/server/page/index.html
WEB := $(shell find web \( -name node_modules -o -path web/test \) -prune -o -type f ! -name '*.py' -print)
SETUP := pyproject.toml scripts/bootstrap.sh
ARGS ?=
# Virtual time takes all cores; in real time two tests leave each other room, and browsers none.
ALL := -n auto --dist worksteal
TWO := -n 2 --dist worksteal
LONGEST := --durations 12 --durations-min 20

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test slow unit browser check fix bench golden livekit mediasoup plugins lock wheel \
	clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(RUN) $(PAGE) ## the talking room at http://localhost:8000 (ARGS="--port 9000")
	@exec .venv/bin/mulisa serve $(ARGS)

test: $(DEV) $(NODE_MODULES) $(PAGE) $(BROWSER) ## all but the slow tests
	$(NPM) run --silent test
	$(PY) -m pytest -m "unit and not slow" $(ALL) $(ARGS) || test $$? -eq 5
	$(PY) -m pytest -m "network and not slow" $(TWO) $(ARGS) || test $$? -eq 5
	$(PY) -m pytest -m "not unit and not network and not slow" $(ARGS) || test $$? -eq 5

slow: $(DEV) $(PAGE) $(BROWSER) $(TURN) $(NFT) livekit mediasoup plugins ## what is too long for `make test`
	$(PY) -m pytest -m "slow and unit" $(ALL) $(ARGS) || test $$? -eq 5
	$(PY) -m pytest -m "slow and network" $(TWO) $(ARGS) || test $$? -eq 5
	$(PY) -m pytest -m "slow and not unit and not network" $(LONGEST) $(ARGS) || test $$? -eq 5

unit: $(DEV) $(NODE_MODULES) ## virtual time, Python and web; under a minute
	$(NPM) run --silent test
	$(PY) -m pytest -m "unit and not slow" $(ARGS)

browser: $(DEV) $(PAGE) $(BROWSER) ## real browsers
	$(PY) -m pytest -m "browser and not slow" $(ARGS)

check: $(DEV) $(NODE_MODULES) ## lint, types, import contracts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(NPM) run --silent lint

fix: $(DEV) $(NODE_MODULES) ## what lint can repair by itself
	.venv/bin/ruff check --fix
	.venv/bin/ruff format
	$(NPM) run --silent fix

bench: $(DEV) $(PAGE) $(BROWSER) ## all benchmarks, small sizes
	@for file in bench/[!_]*.py; do echo "$$file"; $(PY) "$$file" --small $(ARGS) || exit 1; done

golden: $(DEV) ## rewrite the golden recordings and tables; review the diff like code
	@for file in tests/golden/[!_]*.py; do \
	  test -f "$$file" || { echo "tests/golden has nothing to rewrite"; exit 0; }; \
	  echo "$$file"; $(PY) "$$file" || exit 1; done

livekit: | $(DEV) ## a real LiveKit server for the tests; needs Go
	@sh scripts/livekit.sh

mediasoup: | $(DEV) ## mediasoup's worker for the tests and the example; needs a C++ compiler
	@sh scripts/mediasoup.sh

plugins: $(PLUGINS) ## engines of LiveKit Agents, in an environment of their own
	.venv-plugins/bin/python -c "import livekit.agents"
	.venv-plugins/bin/python -m pytest tests/providers/livekit_agents $(ARGS)

lock: ## pin again what pyproject.toml asks for (ARGS=--upgrade for the newest)
	@sh scripts/lock.sh $(ARGS)

wheel: $(RUN) ## dist/*.whl with the pages inside
	@rm -rf dist
	@. scripts/environment.sh && $(PY) -m hatchling build -t wheel

clean: ## everything that was made here, but not the caches
	rm -rf .venv .venv-plugins .tools web/node_modules src/mulisa/server/page src/mulisa/compare/page dist build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-results

$(RUN): requirements/run.lock $(SETUP)
	@sh scripts/bootstrap.sh run
	@touch $@

# What the tests need includes what running needs.
$(DEV): requirements/dev.lock requirements/run.lock $(SETUP)
	@sh scripts/bootstrap.sh dev
	@touch $(RUN) $@

$(PLUGINS): requirements/plugins.lock $(SETUP)
	@sh scripts/bootstrap.sh plugins
	@touch $@

# Written only when a browser was found, so that the next run tries again.
$(BROWSER): | $(DEV)
	@sh scripts/browser.sh

# Nor this one.
$(TURN): | $(DEV)
	@sh scripts/turn.sh

# And not this one.
$(NFT): | $(DEV)
	@sh scripts/nft.sh

$(NODE_MODULES): web/package-lock.json web/package.json | $(RUN)
	@echo "web: packages of web/package-lock.json"
	@$(NPM) ci --silent --no-fund --no-audit
	@touch $@

$(PAGE): $(WEB) $(NODE_MODULES)
	@echo "web: the page, and the report's"
	@$(NPM) run --silent build
	@touch $@
