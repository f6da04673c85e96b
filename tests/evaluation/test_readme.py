"""The README agrees with the committed results and files."""

import json
import re

import pytest

from eccl_lib.config.load import SCALES, load
from eccl_lib.config.schema import TASKS
from eccl_lib.data import open_cohort
from eccl_lib.io.paths import DEMO_FIGURES, NOTEBOOKS, ROOT
from eccl_lib.pipeline.methods import METHODS
from tools import readme

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_equals_the_committed_results():
    assert readme.with_sections(TEXT) == TEXT


def test_the_committed_results_are_of_this_generator_and_these_defaults():
    facts = json.loads((DEMO_FIGURES / "table1.json").read_text())
    assert facts["cohort_fingerprint"] == open_cohort.fingerprint(load("demo"))


def test_a_missing_marker_raises():
    with pytest.raises(ValueError, match="lacks a marker"):
        readme.with_sections("nothing here")


def test_every_file_it_names_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_every_make_target_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z0-9]+)`", TEXT)) | set(re.findall(r"^make ([a-z0-9]+)$", TEXT, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_notebook_scale_task_and_method_is_described():
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        assert notebook.name in TEXT, notebook.name
    for word in (*SCALES, *TASKS, *(method.row for method in METHODS.values())):
        assert word in TEXT, word
