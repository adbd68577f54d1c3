# Everything runs in a virtual environment of its own: `make demo` in a fresh clone needs Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PACKAGES := core plugins triton_kernels
# Where triton is not installed, the modules that import it have no examples to run.
# A process for each core, four at most: each imports torch.
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --doctest-modules --doctest-ignore-import-errors \
	--ignore=tests/benchmarks
# Relative, since pip splits the variable at spaces. It holds the build's own environment to the tested versions too.
PIP_INSTALL := PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip --disable-pip-version-check install \
	-qq --prefer-binary --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format docs gallery bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "variata needs Python 3.11 or newer; name one that you have: make PYTHON=python3.12" >&2; exit 1; }
	@echo "[1/3] making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing torch (the longest step: up to some gigabytes where there is no CPU build at hand)"
	@$(PIP_INSTALL) torch
	@echo "[3/3] installing variata and what its tests need"
	@$(PIP_INSTALL) --editable ".[test,kernels]"
	@touch $@

demo: $(INSTALLED) ## train a VAE on small images of digits; its run and pictures are in demo/
	@rm -rf demo
	@$(BIN)/variata train vae train.epochs=300 --run demo
	@echo
	@echo "Look at:"
	@echo "  demo/samples.png          digits that the model made up"
	@echo "  demo/reconstructions.png  test images, and what comes back of each through the latent space"
	@echo "  demo/curves.png           learning curves, training and validation together"

# With VARIATA_DATA=folder, tests that need published data sets run too; without it they are skipped with that reason.
test: $(INSTALLED) ## the tests, a few minutes
	@$(PYTEST) tests $(PACKAGES)

test-all: $(INSTALLED) ## and those marked slow: fresh environments, kills, notebooks
	@$(PYTEST) -m "not gpu" -rs tests $(PACKAGES)

lint: $(INSTALLED) ## ruff (rules and layout), and pyright on the three packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(INSTALLED) ## lay out the code, and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(INSTALLED) ## check the links of the documents, and run the examples in docstrings
	@$(PYTEST) tests/test_links.py $(PACKAGES)

gallery: $(INSTALLED) ## train the presets that docs/gallery.md does not show as they are, and write it
	@$(BIN)/python docs/gallery.py

bench: $(INSTALLED) ## every benchmark, one after the other; most need VARIATA_DATA
	@for file in $(filter-out %/throughput_pythae.py,$(wildcard tests/benchmarks/*.py)); do \
		echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

clean: ## remove the environment, caches, builds and the demo's run
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache
	find $(PACKAGES) tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
