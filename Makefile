# What there is to do with Headgate. `make` lists it.
#
# Everything is installed into .venv, once: each step leaves a stamp there, and is done again only when what it was made from
# has changed. ARGS is passed on: make test ARGS='tests/unit -k router', make demo ARGS='--seed 7'.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Where this is set, each process of a test compiles all modules anew, and pytest rewrites all tests in each worker.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Where there is an NVIDIA GPU: what puts ONNX Runtime for it in the place of the one for the CPU.
RUNTIME := $(if $(wildcard /dev/nvidia0),$(VENV)/.gpu)

.PHONY: help setup demo test check bench bench-serving soak clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(VENV)/.requirements $(RUNTIME) $(VENV)/.headgate $(VENV)/kafka/.prepared $(VENV)/.compiled ## install everything into .venv (first of all targets, once)

demo: setup ## the whole loop on real data, live in the terminal: one release promoted, one rolled back (under 3 minutes)
	@$(BIN)/headgate demo $(ARGS)

test: setup ## run the tests, on a real Kafka and a real ClickHouse (without the long ones: see soak)
	@$(BIN)/python -m pytest -m 'not soak' -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## lint, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --strict

bench: setup ## measure: the join beside other people's, side by side, and a profile; ARGS names others (tests/bench/README.md)
	@$(BIN)/python -m tests.bench $(ARGS)

bench-serving: setup ## measure the serving workers (6 minutes); ARGS names parts of it (tests/bench/README.md)
	@$(BIN)/python -m tests.bench.serving $(ARGS)

soak: setup ## run the long tests
	@$(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

clean: ## remove what was installed and what the tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@python=$$(infra/local/prerequisites.sh); echo "setup: $(VENV), with $$python"; "$$python" -m venv $(VENV)

$(VENV)/.requirements: requirements.lock | $(VENV)/bin/python
	@echo "setup: Python packages, from requirements.lock"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# The lock has ONNX Runtime for the CPU; both are the same folder, so one has to go. CUDA and cuDNN come with it.
$(VENV)/.gpu: $(VENV)/.requirements
	@echo "setup: ONNX Runtime for this machine's GPU"
	@version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("onnxruntime"))'); \
	$(BIN)/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "onnxruntime-gpu[cuda,cudnn]==$$version" nvidia-ml-py
	@touch $@

$(VENV)/.headgate: pyproject.toml $(VENV)/.requirements
	@echo "setup: the headgate command"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# Kept in __pycache__ by a digest of the sources: what has not changed is only loaded.
$(VENV)/.compiled: $(wildcard streams/*.py streams/join/*.py streams/metrics/*.py schemas/*.py schemas/records/*.py) $(VENV)/.headgate
	@echo "setup: the join's machine code (a minute, the first time)"
	@$(BIN)/python -m streams.join.compile
	@touch $@

$(VENV)/kafka/.resolved: infra/local/pom.xml | $(VENV)/bin/python
	@infra/local/prerequisites.sh >/dev/null
	@echo "setup: Kafka, from Maven Central"
	@rm -rf $(@D)
	@mvn --quiet --batch-mode --no-transfer-progress --file $< dependency:copy-dependencies -Djars="$(CURDIR)/$(@D)"
	@touch $@

# More than half of what a start of the local broker costs: the demo does one, the tests some thirty.
$(VENV)/kafka/.prepared: $(VENV)/kafka/.resolved infra/local/kafka.py infra/local/prepare.py | $(VENV)/.headgate
	@echo "setup: the local broker's first start"
	@$(BIN)/python -m infra.local.prepare
	@touch $@
