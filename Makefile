# make demo   install into .venv and run the notebooks on the embedded cohort (a quarter of an hour on two cores)
# make test   unit tests, then every committed notebook against its own outputs
# make lab    JupyterLab on notebooks/
# make table1 all 225 cells of Table 1: nine rows, five tasks, five seeds; run again it goes on where it was stopped
# make study  the traits column at study scale (an hour on two cores)
# make bench  speed and memory, each beside a reference in the same run (under 20 minutes); writes docs/performance.md
# make refresh  the only command that writes notebooks/ and figures/demo
# make lint   ruff over code and notebooks; no participant in what git tracks

PYTHON ?= python3
BIN := .venv/bin
# One thread a process, several processes: faster here than the reverse, and the same last bits everywhere.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: install demo test unit notebooks lab table1 study bench refresh lint
.DELETE_ON_ERROR:

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or later is needed, this is %d.%d. Name another: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv .venv
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	mkdir -p .venv/share/jupyter/lab/settings
	cp notebooks/.jupyterlab.json .venv/share/jupyter/lab/settings/overrides.json
	touch $@

demo: install
	$(BIN)/python -m eccl_lib.notebooks.run --scale demo

test: unit notebooks

unit: install
	$(BIN)/python -m pytest tests -n 2 --dist loadfile

notebooks: install
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=3600 notebooks

lab: install
	$(BIN)/jupyter lab --notebook-dir notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

table1: install
	$(BIN)/python -m eccl_lib.commands.table1 --scale demo --seeds 5

study: install
	$(BIN)/python -m eccl_lib.commands.table1 --scale study --tasks traits --rows scratch ssl cl eccl cmr_sup

bench: install
	$(BIN)/python -m bench

refresh: install
	$(BIN)/python -m eccl_lib.notebooks.run --scale demo --refresh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m eccl_lib.checks.privacy
