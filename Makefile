# `make run` and `make test` are all that a fresh clone needs, with Python 3.11 or newer, make and a C compiler.

PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.stamp
KERNELS := $(wildcard src/_fastpath/*.pyx)
NATIVE  := $(wildcard bench/native/*.pyx)
TYPES   := $(wildcard src/_fastpath/*.pxd src/gateway/*/*.pxd src/gateway/*/*/*.pxd bench/native/*.pxd)
# Python with a .pxd beside it is compiled too.
SOURCES := $(KERNELS) $(NATIVE) $(TYPES) $(patsubst %.pxd,%.py,$(filter src/gateway/%,$(TYPES))) \
             $(wildcard vocabularies/*.*) setup.py pyproject.toml

# A lock lists the whole closure with the digest of each file: nothing is resolved, and nothing else gets in.
PIP     := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --no-deps --require-hashes

# The newest other Python of this machine that is newer than $(PYTHON); empty where there is none.
NEWER    = $(shell for minor in 14 13 12; do \
             for python in "$$(command -v python3.$$minor)" "$$HOME"/.pyenv/versions/3.$$minor.*/bin/python3.$$minor; do \
               [ -x "$$python" ] && $(PYTHON) -c "import sys; sys.exit(sys.version_info >= (3, $$minor))" \
                 && "$$python" -c "import ssl, venv" 2>/dev/null && echo "$$python" && exit; \
             done; \
           done)

comma   := ,
space   := $() $()

section  = @printf '\n== %s  [%s]\n' '$(1)' "$$(date +%T)"

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test test-all setup lint format unit unit-all newer bench profile lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

run: $(STAMP)-run $(STAMP)-kernels  ## start the gateway in front of a model on this machine; prints a key and a command to try
	@exec $(BIN)/throughway demo

test: setup lint unit newer  ## all that a change must pass

test-all: setup lint unit-all newer  ## the same with the nightly tier: long fuzzing, soak and model runs

setup: $(STAMP)-dev $(STAMP)-kernels

lint: setup  ## ruff, mypy, stubtest and the floors of the architecture
	$(call section,ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(call section,mypy)
	$(BIN)/mypy
	$(call section,stubtest)
	PYTHONPATH=. $(BIN)/stubtest --mypy-config-file pyproject.toml --allowlist .stubtest-allowlist --ignore-unused-allowlist $(KERNELS:src/_fastpath/%.pyx=_fastpath.%) $(NATIVE:bench/native/%.pyx=bench.native.%)
	$(call section,import-linter)
	$(BIN)/lint-imports

format: setup  ## let ruff lay out the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

unit: setup
	$(call section,pytest: fast tier)
	$(BIN)/python -m pytest -m 'not nightly'

unit-all: setup
	$(call section,pytest: fast and nightly tier)
	$(BIN)/python -m pytest

# What these prove does not depend on the Python: it is proven once.
ANY_PYTHON := bench deploy packaging fuzz vocabularies probes/test_behind_proxies.py e2e/test_fleet.py e2e/test_load_balancers.py

newer:  ## the tests that depend on the Python, on a newer one where this machine has it
	$(call section,a newer Python)
	@python='$(NEWER)'; \
	if [ -z "$$python" ]; then echo 'none on this machine: nothing to do'; exit 0; fi; \
	venv=.venv-$${python##*/python}; \
	$(MAKE) --no-print-directory setup PYTHON="$$python" VENV="$$venv" && \
	"$$venv/bin/python" -m pytest -m 'not nightly and not model' $(patsubst %,--ignore tests/%,$(ANY_PYTHON))

bench: setup  ## what it costs, beside nginx in the same run
	$(BIN)/python -m bench

profile: setup  ## where a worker's time goes: flame graphs, and the kernels as Cython sees them, in build/profile
	$(BIN)/python -m bench.profile

$(BIN)/python:
	$(call section,Python environment in $(VENV))
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)

$(STAMP)-run: requirements.lock | $(BIN)/python
	$(call section,packages to run (the model is 90 MB))
	$(INSTALL) -r requirements.lock
	@touch $@

$(STAMP)-dev: requirements-dev.lock $(STAMP)-run
	$(call section,packages to develop)
	$(INSTALL) -r requirements-dev.lock
	@touch $@

$(STAMP)-kernels: $(SOURCES) | $(STAMP)-run
	$(call section,native kernels and vocabularies (a minute))
	@for built in $$(find src/gateway -name '*.so'); do [ -f "$${built%%.*}.pxd" ] || rm "$$built"; done
	$(PIP) install --no-build-isolation --no-deps --editable .
	THROUGHWAY_KERNELS=$(subst $(space),$(comma),$(basename $(notdir $(NATIVE)))) $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

# Keeps the versions that still fit; `make lock UPGRADE=--upgrade` takes the newest.
LOCK     = build/lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
             --no-header --no-annotate $(UPGRADE) pyproject.toml --extra local

lock:  ## write the locks anew from pyproject.toml
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	$(LOCK) --group build --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean:  ## remove all that was built or installed here; state directories stay
	rm -rf build dist .venv .venv-* .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src tests bench vocabularies -name __pycache__ -prune -exec rm -rf {} +
	find src bench \( -name '*.so' -o -name '*.bin' \) -delete
