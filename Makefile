# make demo     install into .venv and run the notebooks on the synthetic cohort (a quarter of an hour on two cores)
# make test     run the unit tests, compare every committed notebook with its stored outputs, then run some in a browser
# make test-long  the full counts of tests/reliability and 10,000 damaged files for each parser (hours on two cores)
# make lab      open JupyterLab on notebooks/
# make table1   train all 225 models of Table 1 (nine rows, five tasks, five seeds); run it again to resume
# make study    train the study of docs/study.md (hours on two cores)
# make bench    measure speed and memory and compare with references (20 minutes); writes docs/performance.md
# make refresh  update notebooks/, figures/demo and the README's table; no other command writes there
# make book     write README, docs, notebooks and API pages as a static site into runs/book/html (needs Node.js)
# make lock     update constraints.txt and the hash locks after a change of pyproject.toml or of a pin
# make licences list the licences of the installed packages
# make audit    compare the pinned packages with the database of known vulnerabilities
# make lint     check code and notebooks with ruff, the direction of imports, and that no participants' data are here
#
# PTBXL=FOLDER gives make test a folder of PTB-XL, for notebook 10; without it this notebook is left out.
# LOCKED=1 (as CI does) installs only files whose SHA-256 is in requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
# Several processes with one thread each are faster here than one process, and give the same last bits everywhere.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: install demo test test-long unit notebooks browser lab table1 study bench book refresh lint lock licences audit
.DELETE_ON_ERROR:

install: .venv/installed

PIP := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Exit status 0 if the installed torch is a CUDA build, which needs packages that a CPU build does not.
IS_CUDA := $(BIN)/python -c 'from importlib.metadata import requires; raise SystemExit(not any(r.startswith("nvidia-") for r in requires("torch")))'

.venv/installed: pyproject.toml constraints.txt requirements.lock requirements-cuda.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or later is needed, this is %d.%d. Name another: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv .venv
ifdef LOCKED
# pip prefers a file whose sum its index states, so a build of torch for the CPU among pip's find-links goes first.
	sed -n '/^torch==/,/^torchvision==/{/^torchvision==/!p;}' requirements.lock > .venv/torch.lock
	$(PIP) --no-index --require-hashes --no-deps --requirement .venv/torch.lock 2> /dev/null || true
	$(PIP) --require-hashes --no-deps --requirement requirements.lock
	if $(IS_CUDA); then $(PIP) --require-hashes --no-deps --requirement requirements-cuda.lock; fi
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
else
	$(PIP) --constraint constraints.txt --editable '.[all]'
endif
	mkdir -p .venv/share/jupyter/lab/settings
	cp notebooks/.jupyterlab.json .venv/share/jupyter/lab/settings/overrides.json
	touch $@

demo: install
	$(BIN)/eccl demo

test: unit notebooks browser

unit: install
	$(BIN)/python -m pytest tests --ignore=tests/browser -n 2 --dist loadfile

test-long: install
	ECCL_LONG=1 $(BIN)/python -m pytest tests/reliability tests/data/test_fuzz.py -n 2 --dist loadfile

PTBXL ?= $(wildcard ../shared/data/ptbxl)

notebooks: install
	$(BIN)/eccl demo --models
	$(if $(PTBXL),$(BIN)/eccl ingest ecg $(PTBXL) --name ptbxl)
	$(BIN)/python -m pytest $(if $(PTBXL),,--ignore=notebooks/10_real_ecg.ipynb) -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=3600 notebooks

# Needs the models that ``make notebooks`` has trained, and Chromium; without them these tests are skipped.
browser: install
	$(BIN)/python -m pytest tests/browser

lab: install
	$(BIN)/jupyter lab --notebook-dir notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

table1: install
	$(BIN)/eccl table1 --seeds 5

study: install
	$(BIN)/eccl study

bench: install
	$(BIN)/python -m bench

refresh: install
	$(BIN)/eccl demo --refresh
	$(BIN)/python -m tools.pages
	$(BIN)/python -m tools.scales

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/eccl privacy

# These three have an environment of their own, so that their packages are not among the suite's.
UV := 0.13.9
PIP_AUDIT := 2.10.0
MYST := 1.11.0

.venv-tools/installed: Makefile
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV) pip-audit==$(PIP_AUDIT) mystmd==$(MYST)
	touch $@

lock: install .venv-tools/installed
	PATH="$(CURDIR)/.venv-tools/bin:$$PATH" $(BIN)/python -m tools.lock $(if $(WHEELS),--wheels $(WHEELS))

# Without Node.js the command says what to install.
book: install .venv-tools/installed
	PATH="$(CURDIR)/.venv-tools/bin:$$PATH" $(BIN)/python -m tools.book

licences: install
	$(BIN)/python -m tools.licences

audit: .venv-tools/installed
	$(PYTHON) tools/audit.py .venv-tools/bin/pip-audit
