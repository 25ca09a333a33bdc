# Two commands are enough for a newcomer: `make demo` and `make test`.
# Both make their own virtual environment in .venv and install what they need.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check faults format clean

demo: .venv/.user
	$(BIN)/layerwise demo

# One thread a process: two processes of two threads each would wait for one another.
test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/house

# Long: kills, full disks, power cuts and damaged files; not part of CI.
faults: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults -o python_files='faults_*.py' -s

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "layerwise needs Python 3.11 or newer, this is " + sys.version.split()[0]'
	$(PYTHON) -m venv .venv

.venv/.user: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing layerwise and PyTorch into .venv (a few minutes the first time) ..."
	$(INSTALL) -e '.[offline]'
	@touch $@

.venv/.test: .venv/.user
	@echo "Installing what the tests need ..."
	$(INSTALL) -e '.[offline,test,track]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
