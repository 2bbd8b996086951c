# Everything runs in .venv, made on first use from constraints.txt; `make help` lists the targets.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
EXTRAS := dev
ARGS   :=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# True for an interpreter that runs, is 3.11 or 3.12 and can make a venv.
SUITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

# The first such interpreter in PATH: a pyenv shim may exist and not run, Debian's may lack venv.
# `make BASE_PYTHON=/path/to/python ...` names it instead.
define FIND_PYTHON
candidates="$(BASE_PYTHON)"; IFS=:; \
if [ -z "$$candidates" ]; then for name in python3.11 python3.12 python3 python; do \
  for dir in $$PATH; do candidates="$$candidates:$$dir/$$name"; done; done; fi; \
found=''; for candidate in $$candidates; do \
  if [ -x "$$candidate" ] && "$$candidate" -c '$(SUITS)' >/dev/null 2>&1; then \
    found="$$candidate"; break; fi; done; unset IFS; \
if [ -z "$$found" ]; then \
  echo "hpcm-tune needs Python 3.11 or 3.12 with venv; none that works was found" \
    "($(or $(BASE_PYTHON),python3.11 python3.12 python3 python in PATH))" >&2; exit 1; fi
endef

.PHONY: help install tune study test test-slow drills browser lint format types check clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP)  ## make .venv with the pinned packages

# A .venv whose interpreter still suits is kept; pip then changes only what the pins changed.
$(STAMP): constraints.txt pyproject.toml
	@if ! $(PYTHON) -c '$(SUITS)' >/dev/null 2>&1; then $(FIND_PYTHON); \
	  echo "Making $(VENV) with $$found"; rm -rf $(VENV) && "$$found" -m venv $(VENV); fi
	@echo "Installing the pinned packages (first time: minutes, 6.5 GB, most of it torch with CUDA)"
	@$(PYTHON) -m pip install -qq --progress-bar off -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

tune: $(STAMP)  ## search: python tune.py --space phase3, or ARGS="--space phase1 --dry-run"
	$(PYTHON) tune.py $(or $(ARGS),--space phase3)

study: export HPCM_DATA ?= $(CURDIR)/runs/images
study: $(STAMP)  ## the study in results/studies, resumable; ARGS="--minutes 60" ends a sitting
	$(PYTHON) -m studies.tiny_photographs.study $(ARGS)

test: $(STAMP)  ## the test suite, or ARGS="tests/hpcm -k resume"
	$(PYTHON) -m pytest -n 2 $(ARGS)

test-slow: $(STAMP)  ## every test but those that need a GPU
	$(PYTHON) -m pytest -m "not gpu and not browser" $(ARGS)

drills: $(STAMP)  ## kill workers, nodes, drivers, disks; what each cost is told at the end
	$(PYTHON) -m pytest -v -m "" tests/drills $(ARGS)

browser: $(STAMP)  ## the page of a search in headless Chromium (Debian: chromium chromium-driver)
	$(PYTHON) -m pytest -m browser tests/tuning $(ARGS)

lint: $(STAMP)  ## ruff: rules, import directions, format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(STAMP)  ## ruff: repair what it can, format
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types: $(STAMP)  ## mypy, strict, over hpcm and tuning
	$(PYTHON) -m mypy

check: lint types test  ## what a change has to pass

clean:  ## remove caches and build products, keep .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV)
