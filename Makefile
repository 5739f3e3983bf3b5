# Environments are made from pyproject.toml's extras and the committed constraints; nothing else is needed.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
FLOOR := .venv-floor/bin
CEILING := .venv-ceiling/bin
MXNET := .venv-mxnet/bin
DIST := .venv-dist/bin
EXAMPLE := .venv-example/bin
FLOOR_PYTHON ?= $(PYTHON)
CEILING_PYTHON ?= $(PYTHON)
MXNET_PYTHON ?= $(PYTHON)
BACKEND ?= all
KERAS_BACKENDS := tensorflow jax torch
PYTEST := -m pytest -q
export TF_CPP_MIN_LOG_LEVEL := 3
# what JAX has compiled in one process is not compiled anew in the next: two thirds of the time of its tests
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax-cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES := -1

.DEFAULT_GOAL := help
.PHONY: help setup test test-full lint parity docs screenshots notebooks demo bench wheels dist clean $(addprefix test-,core floor ceiling numpy torch flax linen paddle mxnet files keras parity exchange models bench example docs notebooks row-1 row-2)

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.made ## make the environment .venv with every framework but MXNet

.venv/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e ".[all,dev,docs,notebooks]"
	@touch $@

.venv-floor/.made: pyproject.toml constraints-floor.txt
	$(FLOOR_PYTHON) -m venv .venv-floor
	$(FLOOR)/pip install -q -c constraints-floor.txt -e . hypothesis pytest
	@touch $@

.venv-ceiling/.made: pyproject.toml constraints.txt
	$(CEILING_PYTHON) -m venv .venv-ceiling
	$(CEILING)/pip install -q -c constraints.txt -e . hypothesis pytest
	@touch $@

# MXNet runs with numpy 1.23 and Python 3.11 at most; what can share that environment proves parity with it
.venv-mxnet/.made: pyproject.toml constraints-mxnet.txt
	$(MXNET_PYTHON) -c 'import sys; sys.exit("MXNet needs Python 3.11 or older: make MXNET_PYTHON=python3.11" if sys.version_info > (3, 12) else 0)'
	$(MXNET_PYTHON) -m venv .venv-mxnet
	$(MXNET)/pip install -q -c constraints-mxnet.txt -e ".[mxnet,torch,paddle]" hypothesis ipykernel keras matplotlib pytest scipy
	@touch $@

.venv-example/.made: constraints-example.txt
	rm -rf .venv-example
	$(PYTHON) -m venv .venv-example
	@touch $@

# most tests keep one core busy: two rows of them go side by side, what JAX compiles in the second one with a cache of
# its own, since two processes may not write into one; then what builds packages, which others would see half made
ifeq ($(BACKEND),all)
test: setup .venv-floor/.made .venv-mxnet/.made ## run all tests; BACKEND=flax runs one backend's
	$(MAKE) --jobs=2 --output-sync=target test-row-1 test-row-2
	$(MAKE) --jobs=1 test-example dist
	@echo "all tests passed"

test-row-1:
	$(MAKE) --jobs=1 --output-sync=target test-keras test-parity test-models test-flax test-linen

test-row-2:
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.jax-cache/2 $(MAKE) --jobs=1 --output-sync=target lint test-core test-floor test-numpy test-torch test-paddle test-mxnet test-files test-exchange test-bench test-docs notebooks test-notebooks docs
else
test: test-$(BACKEND)
	@echo "all tests of '$(BACKEND)' passed"
endif

test-full: export MULTIPARAM_TEST_SCALE = 50
test-full: test ## the same tests with larger numbers

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-core: setup
	$(BIN)/python $(PYTEST) tests/core multiparam --doctest-modules

test-floor: .venv-floor/.made
	$(FLOOR)/python $(PYTEST) tests/core tests/test_numpy.py -m "not newest and not bounds"

# the current numpy, as test-core; for another Python, where not every framework may be installed
test-ceiling: .venv-ceiling/.made
	$(CEILING)/python $(PYTEST) tests/core tests/test_numpy.py -m "not newest"

test-numpy test-torch test-flax test-linen test-paddle: test-%: setup
	$(BIN)/python $(PYTEST) tests/test_$*.py

test-mxnet: .venv-mxnet/.made
	KERAS_BACKEND=torch $(MXNET)/python $(PYTEST) tests/test_mxnet.py tests/test_foreign_files_mxnet.py tests/test_parity.py tests/test_paddle.py tests/test_settings_mxnet.py

test-files: setup
	$(BIN)/python $(PYTEST) tests/test_foreign_files_native.py tests/test_formats_native.py

test-keras: setup
	set -e; for engine in $(KERAS_BACKENDS); do \
	  echo "Keras on $$engine"; KERAS_BACKEND=$$engine $(BIN)/python $(PYTEST) tests/test_keras.py tests/test_keras_own_files.py tests/test_inventory.py; done

test-parity: setup
	$(BIN)/python $(PYTEST) tests/test_parity.py tests/test_settings.py tests/test_across_frameworks.py tests/test_verifying.py tests/test_initializers.py tests/test_shards.py tests/test_bridge.py tests/test_stacks.py tests/test_computed_torch.py

# what MXNet's environment writes is read by the others, and back; and the frameworks' own files without them
test-exchange: setup .venv-mxnet/.made
	folder=$$(mktemp -d) && trap "rm -rf $$folder" EXIT && \
	$(MXNET)/python -m multiparam.testing.exchange write $$folder mxnet && \
	$(BIN)/python -m multiparam.testing.exchange answer $$folder mxnet paddle torch keras flax && \
	$(MXNET)/python -m multiparam.testing.exchange check $$folder mxnet && \
	$(BIN)/python -m multiparam.testing.exchange write $$folder paddle && \
	$(MXNET)/python -m multiparam.testing.exchange answer $$folder paddle mxnet torch && \
	$(BIN)/python -m multiparam.testing.exchange check $$folder paddle

test-models: setup
	KERAS_BACKEND=jax $(BIN)/python $(PYTEST) tests/test_published_models.py

test-bench: setup
	$(BIN)/python $(PYTEST) tests/test_benchmarks.py

# every code block of README and docs; each framework's tabs beside multiparam's
test-docs: setup .venv-mxnet/.made
	$(BIN)/python $(PYTEST) tests/test_docs.py
	$(MXNET)/python $(PYTEST) tests/test_docs.py -k mxnet

test-notebooks: setup
	$(BIN)/python $(PYTEST) tests/test_notebooks.py

# as its users have it: two packages, neither imported from this folder; tinygrad's own device needs no compiler
test-example: wheels .venv-example/.made
	$(EXAMPLE)/pip install -q --no-deps --force-reinstall dist/multiparam-*.whl dist/multiparam_tinygrad-*.whl
	$(EXAMPLE)/pip install -q -c constraints-example.txt "multiparam-tinygrad[test]"
	$(EXAMPLE)/multiparam backends | grep tinygrad
	DEV=PYTHON $(EXAMPLE)/pytest -q examples/third_party_adapter

parity: setup ## print every layer kind from each framework into each other
	$(BIN)/python -m multiparam.testing.parity_table

docs: setup ## build the site into build/site; any broken link or reference fails
	$(BIN)/python docs/generate.py $(if $(wildcard $(MXNET)/python),--python $(MXNET)/python)
	rm -rf build/site
	$(BIN)/python -m sphinx -q -n -W --keep-going docs build/site
	$(BIN)/python docs/check.py build/site
	@echo "the site is in build/site/index.html"

screenshots: docs ## pictures of the site and of what notebooks show, in headless Chromium
	$(BIN)/python docs/screenshots.py build/screenshots

demo: setup .venv-mxnet/.made ## train one model in every framework and exchange the files
	$(BIN)/multiparam demo --python $(MXNET)/python

notebooks: setup .venv-mxnet/.made ## execute the notebooks on every backend, and write them as they are shown
	$(BIN)/python notebooks/execute.py --python mxnet=$(MXNET)/python --write

bench: setup .venv-mxnet/.made ## time multiparam beside the native tools; RECORD=docs/benchmarks.json keeps it
	$(BIN)/python benchmarks/run.py --python $(MXNET)/python $(if $(RECORD),--json $(RECORD))

# what earlier builds left behind would get into the new ones
wheels: setup
	rm -rf dist build/lib build/bdist.* multiparam.egg-info
	$(BIN)/python -m build -qq
	rm -rf examples/third_party_adapter/*.egg-info
	$(BIN)/python -m build -qq --outdir dist examples/third_party_adapter

dist: wheels ## build wheel and sdist, and check them where nothing else is installed
	$(BIN)/twine check --strict dist/*
	rm -rf .venv-dist
	$(PYTHON) -m venv .venv-dist
	$(DIST)/pip install -q -c constraints.txt dist/multiparam-*.whl
	$(BIN)/python $(PYTEST) tests/test_dist.py

clean: ## remove the environments and what tools left behind
	rm -rf notebooks/results .venv .venv-floor .venv-ceiling .venv-mxnet .venv-dist .venv-example build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .jax-cache *.egg-info examples/*/*.egg-info
