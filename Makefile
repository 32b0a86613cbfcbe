# taxoprobe. `make` lists what there is to do; every target makes its own environment in .venv on first use.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What to run on:  make extract MODEL=Qwen/Qwen2.5-VL-7B-Instruct DATASET=cub200
MODEL ?=
DATASET ?=
TAXONOMY ?=
LEVELS ?=
LIMIT ?=
DEVICE ?=
STORE ?=
QUESTIONS ?=
IMAGES ?=
ARGS ?=

PYTHON ?= python3
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 8 ? n : 8)))
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PY := .venv/bin/python
INSTALLED := .venv/installed

flag = $(if $($(1)),--$(2)='$($(1))')
# extract names its store runs/<model>-<dataset>.zarr; the steps after it take the one written last.
# The mark of a store's last flush unit tells when it was last written; text stores say `"kind": "text"`.
LAST_STORE = $(shell for store in $$(ls -t runs/*.zarr/sample/status/c.* 2>/dev/null | cut -d / -f 1,2 | awk '!seen[$$0]++'); do \
  grep -q '"kind": "text"' "$$store/zarr.json" || { echo "$$store"; break; }; done)
CHOSEN_STORE = $(or $(STORE),$(LAST_STORE),$(error no store under runs/ yet: first run make extract MODEL=... DATASET=..., or name one with STORE=...))

# Said before anything is installed.
ifneq ($(filter ask,$(MAKECMDGOALS)),)
$(if $(and $(MODEL),$(QUESTIONS)),,$(error name a model and a bank: make ask MODEL=... QUESTIONS=cub-similar.parquet IMAGES=...))
endif
ifneq ($(filter extract,$(MAKECMDGOALS)),)
$(if $(and $(MODEL),$(DATASET)),,$(error name a model and a dataset: make extract MODEL=Qwen/Qwen2.5-VL-3B-Instruct DATASET=cub200))
endif

.PHONY: help setup demo organisms calibrate extract probe compare report verdict orthogonality ask test test-fast lint format architectures bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  MODEL     a hub id or a directory          DATASET  a preset (cub200, ...), folder, manifest or hub id"
	@echo "  TAXONOMY  a file or folder tree            LEVELS   level columns of a manifest, coarse to fine: order,family"
	@echo "  LIMIT     only so many images              DEVICE   cpu, cuda, cuda:1"
	@echo "  QUESTIONS a question bank                  IMAGES   the folder its image paths start from"
	@echo "  STORE     a store; default: in runs/       ARGS     any other flags; \`.venv/bin/python -m extract --help\` lists them"

setup: $(INSTALLED) ## the environment in .venv (CPU build of torch where there is no GPU)

# Without a GPU the CPU build is asked for by name: from the package indexes pip is set up with, or torch's own. Only where
# neither has it, the plain version is left, which on Linux may bring CUDA's libraries (it runs without a GPU all the same).
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "taxoprobe needs Python 3.11 to 3.13, and $(PYTHON) is not: make setup PYTHON=python3.12" >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv .venv || { rm -rf .venv; exit 2; }
	@echo "installing $(TORCH) and the rest into .venv: 2 GB, a few minutes, once"
	@install() { $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$@"; }; \
	if [ "$$(uname -s)" != Linux ] || command -v nvidia-smi >/dev/null; then install '$(TORCH)'; \
	elif ! install '$(TORCH)+cpu' 2>.venv/torch.log \
	  && ! install --no-deps --retries 1 --timeout 20 --index-url '$(TORCH_INDEX)' '$(TORCH)+cpu' 2>>.venv/torch.log; then \
	  echo "no CPU build of torch within reach (.venv/torch.log says why); taking plain $(TORCH)" >&2; install '$(TORCH)'; \
	fi; \
	install -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## see it work: small models whose bottleneck is known; no download, no GPU, a few minutes
	@$(PY) -m organisms demo $(ARGS)

organisms: $(INSTALLED) ## teach those models anew into runs/organisms, and hold them to their bars
	@$(PY) -m organisms train $(ARGS)
	@$(PY) -m organisms check --weights runs/organisms

calibrate: $(INSTALLED) ## is the verdict right? small models with a planted bottleneck, planted against found (minutes)
	@$(PY) -m organisms calibrate $(ARGS)

extract: $(INSTALLED) ## activations of DATASET in MODEL, into a store under runs/
	@$(PY) -m extract $(call flag,MODEL,model) $(call flag,DATASET,dataset) $(call flag,TAXONOMY,taxonomy) \
	  $(call flag,LEVELS,levels) $(call flag,LIMIT,limit) $(call flag,DEVICE,device) $(call flag,STORE,store) $(ARGS)

probe: $(INSTALLED) ## linear probes at every site and level of STORE
	@$(PY) -m probing '$(CHOSEN_STORE)' $(call flag,DEVICE,device) $(ARGS)

compare: $(INSTALLED) ## the published protocol beside the strict one on STORE, and what each difference costs
	@$(PY) -m probing compare '$(CHOSEN_STORE)' $(call flag,DEVICE,device) $(ARGS)

report: $(INSTALLED) ## one HTML page about STORE: verdict, figures, tables, examples, where they come from
	@$(PY) -m analysis report '$(CHOSEN_STORE)' $(ARGS)

orthogonality: $(INSTALLED) ## are the directions of STORE's levels orthogonal, site by site? one page, any architecture
	@$(PY) -m analysis geometry '$(CHOSEN_STORE)' $(call flag,DEVICE,device) $(ARGS)

verdict: $(INSTALLED) ## at which stage STORE's model loses each level: probes and its own answers joined, with intervals
	@$(PY) -m analysis verdict '$(CHOSEN_STORE)' $(ARGS)

ask: $(INSTALLED) ## put the QUESTIONS of a bank to MODEL, about the images in IMAGES, and score the answers
	@$(PY) -m evaluation $(call flag,MODEL,model) $(call flag,QUESTIONS,questions) $(call flag,IMAGES,images) \
	  $(call flag,TAXONOMY,taxonomy) $(call flag,LEVELS,levels) $(call flag,LIMIT,limit) $(call flag,DEVICE,device) $(ARGS)

test: $(INSTALLED) ## every test
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(INSTALLED) ## the tests that take seconds
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

lint: $(INSTALLED) ## style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m pyright --pythonpath $(PY)

format: $(INSTALLED) ## put the code into shape
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

architectures: $(INSTALLED) ## find and certify the sites of every family of models, and write docs/architectures.md
	@$(PY) -m organisms architectures $(ARGS)

bench: $(INSTALLED) ## measure extraction, reading and writing against their bars
	@for script in benchmarks/*.py; do echo "== $$script"; $(PY) "$$script"; done

clean: ## remove the environment and caches; runs/ stays
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
