# `make demo` and `make test` need only Python >= 3.11 and make: they create .venv and install into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export MOTEDET_GOLDEN ?= $(abspath ../shared/golden)

.PHONY: demo test lint bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("motedet needs Python 3.11 or newer; found " + sys.version.split()[0] + " (set PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e . --group dev
	touch $@

demo: $(STAMP)
	$(BIN)/motedet demo --force

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: $(STAMP)
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/assign.py --json benchmarks/results/assign.json
	$(BIN)/python benchmarks/autoassign.py --json benchmarks/results/autoassign.json
	$(BIN)/python benchmarks/step.py --json benchmarks/results/step.json
	$(BIN)/python benchmarks/predict.py --json benchmarks/results/predict.json
	$(BIN)/python benchmarks/score.py --json benchmarks/results/score.json
	$(BIN)/python benchmarks/merging.py --json benchmarks/results/merging.json
	$(BIN)/python benchmarks/tiles.py --json benchmarks/results/tiles.json
	$(BIN)/python benchmarks/huge_image.py --json benchmarks/results/huge_image.json

clean:
	rm -rf $(VENV) runs build dist
