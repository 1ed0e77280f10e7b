# CPCDS in, CARIN Blue Button out. `make help` lists what there is.
# Needs Python 3.11 or newer and make; everything else is installed into .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
EXTRACT ?= cpcds_samples
TARGET ?= output
JOBS ?= 2

# Tests and runs start many processes: none of them is to compile the package again.
unexport PYTHONDONTWRITEBYTECODE

comma := ,
extras = $(foreach extra,$(subst $(comma), ,$(1)),--extra $(extra))

# $(call sync,ENVIRONMENT,OPTIONS): install locked packages into an environment. If the addresses in the lock
# cannot be reached, pip installs the same packages, by the same hashes, from the index that it knows.
define sync
@UV_PROJECT_ENVIRONMENT=$(CURDIR)/$(1) $(BIN)/uv sync --quiet --frozen --inexact $(2) || { \
	echo "installing with pip, from its own index"; \
	$(BIN)/uv export --quiet --frozen --no-emit-project $(2) --output-file $(1)/requirements.txt \
	&& $(BIN)/python -m pip --python $(1)/bin/python install --quiet --require-hashes --requirement $(1)/requirements.txt; }
endef

define editable
@$(BIN)/cpcds --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --no-index --no-deps \
	--no-build-isolation --editable .
endef

.DEFAULT_GOAL := help
.PHONY: help install develop run test test-slow check format size bench soak simulate conformance samples sandbox \
	screenshots lock audit sbom clean

help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv first, by hash; then what a run needs (installed), serving too (serving), tests and checks too (developed).
$(BIN)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/uv.txt
	@touch $@

$(VENV)/installed: uv.lock $(BIN)/uv
	$(call sync,$(VENV),--extra batch)
	$(editable)
	@touch $@

$(VENV)/serving: $(VENV)/installed
	$(call sync,$(VENV),--extra batch --extra serve)
	@touch $@

$(VENV)/developed: $(VENV)/installed
	$(call sync,$(VENV),--extra dev)
	@touch $@

install: $(VENV)/serving ## Set up .venv/ with the cpcds command (EXTRAS=delta,sign: and what these extras need).
	$(if $(EXTRAS),$(call sync,$(VENV),--extra batch --extra serve $(call extras,$(EXTRAS))))

develop: $(VENV)/developed ## Set up what tests and checks need as well.

run: $(VENV)/installed ## Validate, map, publish cpcds_samples/ to output/, report (nightly: EXTRACT=… TARGET=… LOG=…).
	$(BIN)/cpcds run $(EXTRACT) --to $(TARGET) $(if $(LOG),--log $(LOG))

test: develop ## Run the tests that take seconds, on two processors (JOBS=8 make test: on eight).
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-slow: develop ## Run the tests that take minutes, three at a time on two processors: many of them wait.
	$(BIN)/pytest -m 'slow and not long' -n $$(($(JOBS) * 3 / 2)) --dist worksteal --ignore tests/soak

check: develop ## Check style, types, imports and mappings: what CI runs beside the tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cpcds mapping check

format: develop ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

size: $(VENV)/installed ## Print how large the project is: code, modules, imports, docs.
	$(BIN)/python -m scripts.code_size

bench: develop ## Print how fast it is on this machine, beside rivals; fails if a gate is missed.
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.conforming --members 300

soak: develop ## Ten minutes of the served process under load while everything around it breaks.
	$(BIN)/pytest -m slow tests/soak

simulate: develop ## Publish, prune and roll back under a store that fails, by seeds (SECONDS=600 FIRST=0).
	$(BIN)/python -m tests.simulation --seconds $(or $(SECONDS),600) --first $(or $(FIRST),0) $(if $(SEEDS),--seeds $(SEEDS))

conformance: develop ## Have HL7's own Java engine judge what the samples become (says so if it cannot).
	$(BIN)/cpcds convert cpcds_samples --out .conformance/financial
	$(BIN)/cpcds convert cpcds_samples --out .conformance/basis --view basis
	$(BIN)/python -m conformance.run --self-test --compare .conformance/financial .conformance/basis
	$(BIN)/cpcds convert cpcds_samples/directory --out .conformance/plan-net-1.2.0
	CPCDS_PUBLISH__PLAN_NET=1.1.0 $(BIN)/cpcds convert cpcds_samples/directory --out .conformance/plan-net-1.1.0
	$(BIN)/python -m conformance.run --compare --all --guide davinci-pdex-plan-net-1.2.0 .conformance/plan-net-1.2.0
	$(BIN)/python -m conformance.run --compare --all --guide davinci-pdex-plan-net-1.1.0 .conformance/plan-net-1.1.0
	$(BIN)/cpcds convert cpcds_samples/formulary --out .conformance/drug-formulary
	$(BIN)/python -m conformance.run --compare --all --guide davinci-drug-formulary-2.0.1 .conformance/drug-formulary

samples: $(VENV)/installed ## Make cpcds_samples/ again (the same bytes).
	$(BIN)/python -m etl.synth.samples cpcds_samples

sandbox: install ## Serve the samples, public data included, with the developer portal at http://127.0.0.1:8000/.
	@mkdir -p .sandbox
	$(BIN)/cpcds run cpcds_samples --to .sandbox/published
	$(BIN)/cpcds run cpcds_samples/directory --to .sandbox/directory
	$(BIN)/cpcds run cpcds_samples/formulary --to .sandbox/formulary
	CPCDS_AUTH__MODE=sandbox CPCDS_AUTH__DEMO_MEMBERS=cpcds_samples/member.csv \
		CPCDS_AUTH__DATABASE=sqlite:///.sandbox/auth.sqlite3 CPCDS_AUTH__AUDIT=.sandbox/audit \
		$(BIN)/cpcds serve .sandbox/published --directory .sandbox/directory --formulary .sandbox/formulary

screenshots: develop ## Picture every page of the portal and of reports into .screenshots/ (needs Chromium).
	$(BIN)/python -m scripts.screenshots

lock: $(BIN)/uv ## Lock what pyproject.toml asks for (UPGRADE=--upgrade: newer versions).
	$(BIN)/uv lock $(UPGRADE)
	$(BIN)/uv export --quiet --frozen --only-group build --no-annotate --no-header --output-file $(VENV)/build.txt
	@awk '/^[^ ]/ {keep = /^uv==/} keep' $(VENV)/build.txt >requirements/uv.txt

audit: develop ## Look the locked versions up in a database of known vulnerabilities.
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(call sync,$(TOOLS),--only-group tools)
	$(BIN)/python -m scripts.audit

sbom: develop ## Write .sbom/*.cdx.json (CycloneDX) and requirements/licences.md, of all that users install.
	$(BIN)/python -m scripts.sbom

clean: ## Remove what can be made again.
	rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .conformance .screenshots .sandbox .sbom
