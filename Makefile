# CPCDS in, CARIN Blue Button out. `make help` lists what there is.
# Needs Python 3.11 or newer and make; everything else is installed into .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
EXTRACT ?= cpcds_samples
TARGET ?= output
LOG ?= cpcds-nightly.log
JOBS ?= 2

# Tests and runs begin many processes: none of them is to compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install develop run test test-slow test-spark test-long check lint types imports format bench bench-rivals bench-doctor bench-gateway \
	size soak simulate validate nightly conformance s3-demo samples sandbox screenshots lock audit sbom clean

help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

LOCKED := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

# What running needs (installed), what serving needs beside it (serving), what tests and checks need beside
# both (developed); and what locks are made with, by itself (.tools/): none of it may change what is tested.
$(VENV)/installed: pyproject.toml requirements/batch.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) --requirement requirements/batch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/serving: $(VENV)/installed requirements/serve.txt
	$(LOCKED) --requirement requirements/serve.txt
	@touch $@

$(VENV)/developed: $(VENV)/installed requirements/dev.txt
	$(LOCKED) --requirement requirements/dev.txt
	@touch $@

$(TOOLS)/installed: requirements/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements/tools.txt
	@touch $@

install: $(VENV)/serving $(if $(EXTRAS),$(TOOLS)/installed) ## Set up .venv/ with the cpcds command (EXTRAS=delta,sign: and what these extras need).
	@$(if $(EXTRAS),$(TOOLS)/bin/uv pip install --quiet --python $(BIN)/python --no-build-isolation \
		--constraint requirements/extras.txt --editable '.[$(EXTRAS)]')

develop: $(VENV)/developed ## Set up what tests and checks need as well.

run: $(VENV)/installed ## Run the main job on cpcds_samples/: validate, map, publish to output/, report.
	$(BIN)/cpcds run $(EXTRACT) --to $(TARGET)

test: develop ## Run the tests that take seconds, on two processors (JOBS=8 make test: on eight).
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-slow: develop ## Run the tests that take minutes, side by side.
	$(BIN)/pytest -m 'slow and not long' -n $(JOBS) --dist worksteal --ignore tests/soak

test-spark: develop ## Run the tests of Apache Spark (needs Java; installs pyspark).
	$(LOCKED) --requirement requirements/spark.txt
	$(BIN)/pytest -m 'slow and not long' tests/contract/executor -k Spark -rs

test-long: develop ## Run the tests that take many minutes each; CI does not.
	$(BIN)/pytest -m long -n $(JOBS) --dist worksteal

lint: develop ## Check style.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: develop ## Check types.
	$(BIN)/mypy

imports: develop ## Check which room imports which.
	$(BIN)/lint-imports

check: lint types imports ## What CI runs beside the tests.
	$(BIN)/cpcds mapping check

format: develop ## Put the style right.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

size: $(VENV)/installed ## Print how large the project is: code, modules, imports, docs.
	$(BIN)/python -m scripts.code_size

bench: develop ## Print how fast it is on this machine; fails where it is a fifth slower than it was beside its rivals.
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.conforming --members 300

bench-rivals: develop ## Print how fast it is beside more rivals, HAPI FHIR's Java model among them (minutes).
	$(BIN)/python -m benchmarks.rivals

bench-doctor: develop ## Print how many columns of unknown files the doctor names rightly.
	$(BIN)/python -m benchmarks.doctor

bench-gateway: develop ## Load the served process, from a folder and from S3 (needs wrk; takes minutes).
	$(BIN)/python -m benchmarks.gateway

soak: develop ## Ten minutes of the served process under load while everything around it breaks.
	$(BIN)/pytest -m slow tests/soak

simulate: develop ## Publish, prune and roll back under a store that fails, by seeds (SECONDS=600 FIRST=0).
	$(BIN)/python -m tests.simulation --seconds $(or $(SECONDS),600) --first $(or $(FIRST),0) $(if $(SEEDS),--seeds $(SEEDS))

conformance: develop ## Have HL7's own Java engine judge what the samples become (skips aloud).
	$(BIN)/cpcds convert cpcds_samples --out .conformance/financial
	$(BIN)/cpcds convert cpcds_samples --out .conformance/basis --view basis
	$(BIN)/python -m conformance.run --self-test
	$(BIN)/python -m conformance.run --compare .conformance/financial .conformance/basis
	$(BIN)/cpcds convert cpcds_samples/directory --out .conformance/plan-net-1.2.0
	CPCDS_PUBLISH__PLAN_NET=1.1.0 $(BIN)/cpcds convert cpcds_samples/directory --out .conformance/plan-net-1.1.0
	$(BIN)/python -m conformance.run --compare --all --plan-net 1.2.0 .conformance/plan-net-1.2.0
	$(BIN)/python -m conformance.run --compare --all --plan-net 1.1.0 .conformance/plan-net-1.1.0

samples: $(VENV)/installed ## Make cpcds_samples/ again (the same bytes).
	$(BIN)/python -m etl.synth.samples cpcds_samples

validate: $(VENV)/installed ## Check an extract without publishing: make validate EXTRACT=folder
	$(BIN)/cpcds validate $(EXTRACT)

nightly: $(VENV)/installed ## The nightly run: make nightly EXTRACT=folder TARGET=folder (exit codes in README)
	$(BIN)/cpcds run $(EXTRACT) --to $(TARGET) --log $(LOG)

s3-demo: develop ## The whole job against a real S3 server (SeaweedFS) on this machine.
	$(BIN)/python -m tests.integration.s3_demo $(EXTRACT)

sandbox: install ## Serve the samples, their directory included, with the developer portal at http://127.0.0.1:8000/ for trying out.
	@mkdir -p .sandbox
	$(BIN)/cpcds run cpcds_samples --to .sandbox/published
	$(BIN)/cpcds run cpcds_samples/directory --to .sandbox/directory
	CPCDS_AUTH__MODE=sandbox CPCDS_AUTH__DEMO_MEMBERS=cpcds_samples/member.csv \
		CPCDS_AUTH__DATABASE=sqlite:///.sandbox/auth.sqlite3 CPCDS_AUTH__AUDIT=.sandbox/audit \
		CPCDS_SERVE__DIRECTORY=.sandbox/directory $(BIN)/cpcds serve .sandbox/published

screenshots: develop ## Picture every page of the portal and of reports into .screenshots/ (needs Chromium).
	$(BIN)/python -m scripts.screenshots

COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(TOOLS)/bin/uv pip compile --quiet \
	--universal --generate-hashes --no-annotate
PROJECT := $(COMPILE) pyproject.toml --group build
SHIPPED_EXTRAS := batch serve executor spark verify postgres lineage sign notify delta iceberg sql snowflake bigquery

lock: $(TOOLS)/installed ## Pin what pyproject.toml asks for, with hashes: requirements/ (UPGRADE=--upgrade: newer versions).
	$(PROJECT) $(UPGRADE) --extra dev --output-file requirements/dev.txt
	$(PROJECT) --extra batch --constraint requirements/dev.txt --output-file requirements/batch.txt
	$(PROJECT) --extra serve --constraint requirements/dev.txt --output-file requirements/serve.txt
	$(PROJECT) --extra executor --constraint requirements/dev.txt --output-file requirements/executor.txt
	$(PROJECT) --extra spark --constraint requirements/dev.txt --output-file requirements/spark.txt
	$(PROJECT) $(SHIPPED_EXTRAS:%=--extra %) --constraint requirements/dev.txt --output-file requirements/extras.txt
	$(COMPILE) $(UPGRADE) --group tools --output-file requirements/tools.txt

audit: $(TOOLS)/installed ## Look the locked versions up in a database of known vulnerabilities.
	$(TOOLS)/bin/python -m scripts.audit

sbom: $(TOOLS)/installed ## Write .sbom/*.cdx.json (CycloneDX) and requirements/licences.md, of all that users install.
	$(TOOLS)/bin/python -m scripts.sbom

clean: ## Remove what can be made again.
	rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .conformance .screenshots .sandbox .sbom
