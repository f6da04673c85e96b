"""The committed notebooks define nothing, share one structure, and were executed as committed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from eccl_lib.checks import privacy
from eccl_lib.io import paths
from eccl_lib.notebooks.clean import KERNELSPEC, normalise
from eccl_lib.notebooks.run import ORDER

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
RHYTHM = ("Setup", "Data", "Model", "Objective", "Train", "Result", "Check", "Save")
ALWAYS = {"Setup", "Data", "Check", "Save"}
PARAMETERS = ("scale", "cohort", "disease", "seed", "overrides")
HEADER = ("paper", "reads", "writes", "time", "next")
PROJECT = "*ECCL: learning cardiac-MRI information from a ten-second ECG*"
FIGURE_NOTE = ("What you should see:", "What it means:", "What it does not mean:")
CELL_LINES, NOTEBOOK_LINES = 15, 130
PARTICIPANT = re.compile(r"(?<![\d.])\d{7}(?![\d.])")
HOME = re.compile(r"/(?:home|root|Users|tmp|work|mnt)/")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _lines(cell: nbformat.NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def _texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Sources and all outputs that are text."""
    texts = [cell.source for cell in notebook.cells]
    for cell in _code(notebook):
        for output in cell.outputs:
            texts.append(output.get("text", ""))
            texts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return texts


def test_every_notebook_of_the_demo_is_there():
    assert set(ORDER) <= {path.stem for path in NOTEBOOKS}


def test_notebook_defines_nothing(notebook):
    for cell in _code(notebook):
        tree = ast.parse(cell.source)  # also refuses % and !
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.While
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], cell.source
        assert "sys.path" not in cell.source


def test_every_figure_note_has_its_three_parts(notebook):
    notes = [cell.source for cell in notebook.cells if "What you should see:" in cell.source]
    assert notes
    for note in notes:
        assert all(note.count(part) == 1 for part in FIGURE_NOTE), note


def test_cells_and_notebook_are_short(notebook):
    lengths = [len(_lines(cell)) for cell in _code(notebook)]
    assert max(lengths) <= CELL_LINES
    assert sum(lengths) <= NOTEBOOK_LINES


def test_first_code_cell_has_the_parameters_as_commented_literals(notebook):
    cell = _code(notebook)[0]
    assert cell.metadata.tags == ["parameters"]
    names = []
    for line, node in zip(_lines(cell), ast.parse(cell.source).body, strict=True):
        assert type(ast.literal_eval(node.value)).__name__ == node.annotation.id
        names.append(node.target.id)
        assert "  # " in line
    assert tuple(names[: len(PARAMETERS)]) == PARAMETERS


def test_papermill_lists_every_parameter_with_its_type_its_default_and_a_help_text(path):
    body = ast.parse(_code(nbformat.read(path, as_version=4))[0].source).body
    done = CliRunner().invoke(papermill, ["--help-notebook", str(path)])
    listed = re.split(r"^  (?=\w)", done.output, flags=re.MULTILINE)[1:]
    assert [entry.partition(":")[0] for entry in listed] == [node.target.id for node in body]
    for entry, node in zip(listed, body, strict=True):
        kind, default, text = re.fullmatch(r"\w+: (\w+) \(default (.*?)\)\s+(.*)\s*", entry, flags=re.DOTALL).groups()
        assert (kind, ast.literal_eval(default)) == (node.annotation.id, ast.literal_eval(node.value))
        assert len(text.split()) >= 4 and "\n" not in text.strip(), entry


def test_parameters_are_the_same_in_every_notebook():
    cells = [_code(nbformat.read(path, as_version=4))[0].source.splitlines() for path in NOTEBOOKS]
    assert len({tuple(lines[: len(PARAMETERS)]) for lines in cells}) == 1


def test_sections_keep_their_order(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert [name for name in RHYTHM if name in sections] == sections
    assert set(sections) >= ALWAYS


def test_title_states_project_inputs_outputs_time_and_next_notebook(notebook):
    title = notebook.cells[0].source
    assert title.startswith("# ") and title.splitlines()[2] == PROJECT
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in title.splitlines() if line[:1] == "|"}
    assert all(rows.get(name) for name in HEADER)


def test_objective_shows_the_source_of_the_library(notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    if "## Objective" in text:
        assert "show_source(" in text


def test_check_cell_is_compared_by_nbval(notebook):
    headings = [k for k, cell in enumerate(notebook.cells) if cell.source.startswith("## Check")]
    checks = next(cell for cell in notebook.cells[headings[0] :] if cell.cell_type == "code")
    assert "tags" not in checks.metadata
    assert checks.source.count("print(") >= 3


def test_only_known_tags_are_used(notebook):
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    assert tags <= {"parameters", "nbval-ignore-output", "progress"}


def test_notebook_is_committed_executed(notebook):
    silent = {"parameters", "progress"}
    for cell in _code(notebook)[2:]:
        prints = any(word in cell.source for word in ("print(", "show_source(", "save_figure("))
        if prints and not silent & set(cell.metadata.get("tags", [])):
            assert cell.outputs, cell.source


def test_outputs_hold_no_error_warning_or_path_of_a_machine(notebook):
    for cell in _code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
    for text in _texts(notebook):
        assert not HOME.search(text), text[:200]


def test_every_check_holds(notebook):
    for cell in _code(notebook):
        if "nbval-ignore-output" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                assert "False" not in output.get("text", "").replace("SSL False", "").replace("CL False", "")


def test_ids_are_those_of_the_embedded_cohort(notebook):
    for text in _texts(notebook):
        assert all(found.startswith("9") for found in PARTICIPANT.findall(privacy.without_digests(text)))


def test_notebook_is_normalised(notebook):
    assert notebook.metadata.kernelspec == KERNELSPEC
    assert nbformat.writes(normalise(notebook)) == nbformat.writes(notebook)


def test_notebooks_are_small(tmp_path: Path):
    for path in NOTEBOOKS:
        assert path.stat().st_size < 3e6, path.name
