# Everything sets itself up: `make demo` and `make test` need only Python 3.11+, pip and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
TEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder --durations 20

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-cluster lint format clean faults screenshots bench-train bench-evaluation bench-search bench-orchestrator bench-memory bench-plan bench-gpu bench-fronts models study

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(READY) ## Run the main job on the embedded model and show its Pareto front
	$(BIN)/procon run sweeps/presets/demo.yaml

test: $(READY) ## Run the tests (neither slow nor gpu)
	$(TEST) -m "not slow and not gpu and not cluster"

test-all: $(READY) ## Run the slow tests too
	$(TEST) -m "not gpu and not cluster"

test-cluster: $(READY) ## Follow README's cluster section on hosts made of namespaces, and let them fail (root, Debian; 20 minutes)
	$(BIN)/python -m pytest --numprocesses 0 -m cluster -rP --durations 20 tests/cluster

lint: $(READY) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-train: $(READY) ## Measure training against plain fine-tuning and TRL (10 minutes)
	$(BIN)/python benchmarks/train.py

bench-evaluation: $(READY) ## Measure evaluation: two ranks against one, decoding against transformers (3 minutes)
	$(BIN)/python benchmarks/evaluation.py

bench-search: $(READY) ## Replay recorded trials to compare searchers, on two tables (3 minutes)
	$(BIN)/python benchmarks/search.py

bench-orchestrator: $(READY) ## Measure what orchestration costs: slots, many trials, journals (15 minutes)
	$(BIN)/python benchmarks/orchestration.py

bench-plan: $(READY) ## Compare the memory that a plan foretells with measured peaks (5 minutes)
	$(BIN)/python benchmarks/plan_memory.py

bench-gpu: $(READY) ## Measure all that needs a CUDA device, in stages that keep what was done (10 minutes)
	$(BIN)/python benchmarks/gpu.py

bench-memory: $(READY) ## Measure how much of a model each rank holds under ZeRO 3 (10 minutes)
	$(BIN)/python benchmarks/memory.py

bench-fronts: $(READY) ## Measure MLflow, page, comparison and status of large made-up sweeps (5 minutes)
	$(BIN)/python benchmarks/fronts.py

models: $(READY) ## Try every architecture and write the table of docs/models.md (3 minutes)
	$(BIN)/python benchmarks/models.py

faults: $(READY) ## Kill and damage what can be, one by one, and write the table of docs/reliability.md (10 minutes)
	$(BIN)/python -m pytest --numprocesses 0 --write-faults tests/orchestrator/faults/test_one_by_one.py
	$(BIN)/python tests/orchestrator/faults/fault_table.py

screenshots: $(READY) ## Take the pictures of docs/ of the page of runs/demo, with the system's Chromium (make demo first)
	$(BIN)/python benchmarks/screenshots.py

study: $(READY) ## Run the study of docs/study.md and write its tables and figures
	$(BIN)/python benchmarks/study.py

clean: ## Remove the environment and caches; runs/ stays
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# The stamp is written last, so that an interrupted installation is repeated.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --quiet --editable ".[dev]"
	touch $@
