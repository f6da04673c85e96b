"""Parameter checks through papermill, figures and tables, the normaliser, and the notebook runner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from eccl_lib import grid
from eccl_lib.checks import privacy
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS
from eccl_lib.io import paths
from eccl_lib.notebooks import notebook, run
from eccl_lib.notebooks.clean import normalise
from eccl_lib.pipeline.methods import METHODS
from tests.conftest import HANG, eccl

DECLARED = ("scale", "cohort", "disease", "seed", "overrides")
PARAMETERS = 'scale: str = "demo"\ncohort: str = "synthetic"\ndisease: str = "I21"\nseed: int = 0\noverrides: dict = {}'
START = (
    "from eccl_lib.notebooks import notebook\nconfig = notebook.start("
    "scale=scale, cohort=cohort, disease=disease, seed=seed, overrides=overrides)\nlog = notebook.progress()\n"
    'log(f"{config.disease} {config.seed} {config.align.epochs}")'
)


def _notebook(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.ipynb"
    nbformat.write(_notebook(PARAMETERS, START), path)
    return path


def _papermill(tiny: Path, *arguments: str) -> subprocess.CompletedProcess:
    out = tiny.with_name("out.ipynb")
    command = [sys.executable, "-m", "papermill", str(tiny), str(out), "--no-progress-bar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "diseese", "I42"), ("diseese", "did you mean disease", *DECLARED)),
        (("-p", "seed", "abc"), ("seed", "give an int")),
        (("-p", "scale", "papre"), ("scale", "demo, study, paper")),
        (("-p", "disease", "I99"), ("disease", "I21, I42, I48, I50, traits")),
        (("-y", "overrides: {align.epoks: 5}"), ("align.epoks", "did you mean align.epochs")),
    ],
)
def test_papermill_refuses_a_wrong_parameter_and_names_the_right_ones(tiny: Path, arguments: tuple, words: tuple):
    done = _papermill(tiny, *arguments)
    assert done.returncode != 0
    message = shown_by_papermill(done.stderr)
    assert message.startswith("ConfigError: ") and "\n" not in message
    for word in words:
        assert word in message


def shown_by_papermill(stderr: str) -> str:
    """What papermill shows of an error in a cell, from the line after the cell's number to the end."""
    _, found, rest = stderr.partition('Exception encountered at "In [')
    assert found, stderr
    return rest.partition("\n")[2].strip()


@pytest.mark.parametrize(
    "last", ["DamagedError('a/model', 'is short', 'Repeat.')", "MissingError('no run\\n  eccl train x')"]
)
def test_papermill_ends_with_the_message_of_an_error_that_a_user_can_correct(tmp_path: Path, last: str):
    path = tmp_path / "tiny.ipynb"
    nbformat.write(_notebook("from eccl_lib.config.errors import *", f"raise {last}"), path)
    done = _papermill(path)
    messages = {"D": "DamagedError: a/model is short. Repeat.", "M": "MissingError: no run\n  eccl train x"}
    assert done.returncode != 0 and shown_by_papermill(done.stderr) == messages[last[0]]


def test_papermill_shows_where_any_other_error_was_raised(tmp_path: Path):
    path = tmp_path / "tiny.ipynb"
    nbformat.write(_notebook("heart = 1", "heart.beats"), path)
    assert "Cell In[2]" in shown_by_papermill(_papermill(path).stderr)


def test_a_short_error_cannot_control_the_terminal():
    assert ConfigError("no \x1b[2J")._render_traceback_() == ["ConfigError: no \\x1b[2J"]


def test_papermill_passes_right_parameters_and_progress_reaches_the_terminal(tiny: Path):
    done = _papermill(tiny, "-p", "disease", "I42", "-p", "seed", "3", "-y", "overrides: {align.epochs: 5}")
    assert done.returncode == 0, done.stderr
    assert "I42 3 5" in done.stderr.splitlines()
    cell = nbformat.read(tiny.with_name("out.ipynb"), as_version=4).cells[-1]
    assert [(out.name, out.text) for out in cell.outputs] == [("stdout", "I42 3 5\n")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seed": "true"}, ("seed", "give an int")),  # as papermill hands over -p seed true
        ({"seed": 1e3}, ("seed", "1000.0", "give an int")),  # and -p seed 1e3
        ({"seed": True}, ("seed", "give an int")),
        ({"overrides": {"align.epoks": 5}}, ("align.epoks", "did you mean align.epochs")),
        ({"overrides": "align.epochs=5"}, ("overrides", "fields and values")),
        ({"cohort": "ukbb"}, ("cohort", "synthetic, ukb")),
        ({"method": "tripplet"}, ("method is 'tripplet'", "cmae, resnet50, vit, triplet")),
        ({"method": 4}, ("method is 4", "choose one of")),
        ({"seeds": 0}, ("seeds is 0", "1 or more")),
        ({"seeds": "5"}, ("seeds is '5'", "1 or more")),
    ],
)
def test_start_refuses_wrong_types_and_values(given: dict, words: tuple):
    plain = {"scale": "demo", "cohort": "synthetic", "disease": "I21", "seed": 0, "overrides": {}}
    with pytest.raises(ConfigError) as caught:
        notebook.start(**{**plain, **given})
    assert all(word in str(caught.value) for word in words)


def test_start_takes_every_row_of_table_1_as_method():
    from eccl_lib.pipeline.methods import METHODS

    plain = {"scale": "demo", "cohort": "synthetic", "disease": "I48", "seed": 3, "overrides": {}}
    assert len(METHODS) == 9
    assert all(notebook.start(**plain, method=method).disease == "I48" for method in METHODS)


def test_a_config_field_given_as_parameter_is_named_with_its_section():
    with pytest.raises(ConfigError, match=r"'epochs'.*overrides: \{mae.epochs"):
        notebook._refuse_unknown([PARAMETERS, "# Parameters\nepochs = 3", START], DECLARED)


def test_names_assigned_in_other_cells_are_not_parameters():
    notebook._refuse_unknown([PARAMETERS, "x = 3", START], DECLARED)


def test_a_name_added_to_the_parameters_cell_is_unknown():
    with pytest.raises(ConfigError, match="'method'"):
        notebook._refuse_unknown([PARAMETERS + '\nmethod = "eccl"', START], DECLARED)


def test_the_latest_injected_cell_counts():
    wrong, right = '# Parameters\ndiseese = "I42"', '# Parameters\ndisease = "I42"'
    notebook._refuse_unknown([PARAMETERS, wrong, START, right, START], DECLARED)
    with pytest.raises(ConfigError, match="diseese"):
        notebook._refuse_unknown([PARAMETERS, right, START, wrong, START], DECLARED)


def test_progress_goes_to_the_file_named_in_the_environment(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv(notebook.PROGRESS_FILE, str(tmp_path / "lines"))
    log = notebook.progress()
    log("epoch 1")
    log("epoch 2")
    assert (tmp_path / "lines").read_text() == "epoch 1\nepoch 2\n"
    assert capsys.readouterr().out == "epoch 1\nepoch 2\n"


def test_a_saved_figure_drawn_again_is_the_same_file(tmp_path: Path, monkeypatch):
    import pandas as pd

    from eccl_lib import figures

    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    history = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]})
    seen = []
    for _ in range(2):
        notebook.save_figure(figures.training_curves(history, {"loss": ["loss"]}), "curve", load())
        folder = paths.figures_dir("demo", "synthetic")
        seen.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert sorted(seen[0]) == ["curve.png", "curve.svg"]
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("options", "name", "stamped"),
    [
        ({}, "curve", True),
        ({"real": True}, "real_curve", True),
        ({"real": True, "stamp": False}, "real_curve", False),
    ],
)
def test_saved_figures_are_named_and_stamped(tmp_path: Path, monkeypatch, options: dict, name: str, stamped: bool):
    import pandas as pd

    from eccl_lib import figures
    from eccl_lib.figures.style import STAMP

    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    figure = figures.training_curves(pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]}), {"loss": ["loss"]})
    notebook.save_figure(figure, "curve", load(), **options)
    notebook.save_figure(figure, "curve", load(), **options)
    texts = [text.get_text() for text in figure.texts]
    assert texts.count(STAMP) == stamped
    assert {path.stem for path in paths.figures_dir("demo", "synthetic").iterdir()} == {name}


def test_figures_of_real_cohorts_are_not_stamped(tmp_path: Path, monkeypatch):
    import pandas as pd

    from eccl_lib import figures
    from eccl_lib.figures.style import STAMP

    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    figure = figures.training_curves(pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]}), {"loss": ["loss"]})
    notebook.save_figure(figure, "curve", load("demo", cohort="ukb"))
    assert STAMP not in [text.get_text() for text in figure.texts]


def test_a_saved_table_is_read_back(tmp_path: Path, monkeypatch):
    import pandas as pd

    monkeypatch.setenv("ECCL_RUNS", str(tmp_path))
    path = notebook.save_table(pd.DataFrame({"r": [0.123456]}), "traits", load())
    assert path.name == "traits.csv" and pd.read_csv(path)["r"].tolist() == [0.1235]


def _executed(tiny: Path) -> nbformat.NotebookNode:
    """Output of papermill: injected cell, timestamps, standard error, a path of this machine, split streams."""
    executed = nbformat.read(tiny, as_version=4)
    injected = nbformat.v4.new_code_cell("# Parameters\nseed = 1", metadata={"tags": ["injected-parameters"]})
    executed.cells.insert(1, injected)
    executed.metadata["papermill"] = {"duration": 1.5}
    last = executed.cells[-1]
    last.execution_count = 7
    last.metadata = nbformat.from_dict(
        {"papermill": {"start_time": "now"}, "execution": {"a": 1}, "tags": ["nbval-ignore-output"]}
    )
    last.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=f"wrote {paths.runs_root()}/demo-synthetic/x\n"),
        nbformat.v4.new_output("stream", name="stderr", text="a warning\n"),
        nbformat.v4.new_output("stream", name="stdout", text=f"in {paths.ROOT}\n"),
        nbformat.v4.new_output("execute_result", data={"text/plain": "<A at 0x7f00>"}, execution_count=7),
    ]
    return executed


def test_normaliser_keeps_outputs_and_drops_what_changes(tiny: Path):
    clean = normalise(_executed(tiny))
    assert [cell.source for cell in clean.cells] == [PARAMETERS, START]
    assert [cell.execution_count for cell in clean.cells] == [1, 2]
    assert clean.cells[1].metadata == {"tags": ["nbval-ignore-output"]}
    assert "papermill" not in clean.metadata
    assert clean.metadata.kernelspec.display_name == "Python 3 (ipykernel)"
    text, result = clean.cells[1].outputs
    assert text.text == "wrote runs/demo-synthetic/x\nin .\n"
    assert result.data["text/plain"] == "<A>"
    assert result.execution_count == 2


def test_normaliser_is_idempotent_and_leaves_its_input_alone(tiny: Path):
    executed = _executed(tiny)
    before = nbformat.writes(executed)
    once = normalise(executed)
    assert nbformat.writes(normalise(once)) == nbformat.writes(once)
    assert nbformat.writes(executed) == before


def test_a_new_run_and_a_reused_one_leave_the_same_notebook(tiny: Path):
    kept = []
    for line in ("epoch 1 of 2, 3.1 s", "done before, reused"):
        executed = nbformat.read(tiny, as_version=4)
        executed.cells[-1].metadata = nbformat.from_dict({"tags": ["nbval-ignore-output", "progress"]})
        executed.cells[-1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=line)]
        kept.append(nbformat.writes(normalise(executed)))
    assert kept[0] == kept[1]


def test_normaliser_refuses_a_notebook_that_ended_in_an_error(tiny: Path):
    executed = _executed(tiny)
    executed.cells[-1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="bad", traceback=[])]
    with pytest.raises(ValueError, match="E: bad"):
        normalise(executed)


def test_a_failing_notebook_is_named_with_cell_and_error(tmp_path: Path):
    path = tmp_path / "07_some.ipynb"
    nbformat.write(_notebook("x = 1", "raise RuntimeError('no heart')"), path)
    with pytest.raises(run.NotebookError, match=r"07_some stopped in cell \[2\]: RuntimeError: no heart"):
        run.execute(path, tmp_path / "out" / path.name, {})


@pytest.mark.parametrize("last", ["y = 2", "open(x)"], ids=["finished", "failed"])
def test_an_executed_notebook_has_no_path_of_this_machine(tmp_path: Path, monkeypatch, last: str):
    home = tmp_path / "home" / "jane"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "disk" / "runs"))
    path, out = home / "checkout" / "07_some.ipynb", tmp_path / "disk" / "runs" / "notebooks" / "07_some.ipynb"
    path.parent.mkdir(parents=True)
    prints = "import sys; from pathlib import Path; print(Path.home() / 'a', x); print(x, file=sys.stderr); x"
    nbformat.write(_notebook('x = ""', prints, last), path)
    given = {"x": str(home / "a patient.xml")}
    if last == "open(x)":
        with pytest.raises(run.NotebookError):
            run.execute(path, out, given)
    else:
        run.execute(path, out, given)
    text = out.read_text()
    assert str(tmp_path) not in text and "jane" not in text
    executed = nbformat.reads(text, as_version=4)
    assert executed.metadata["papermill"]["input_path"] == path.name
    assert [cell.source for cell in executed.cells if cell.source.startswith("# Parameters")] == [
        '# Parameters\nx = "~/a patient.xml"\n'
    ]
    assert any("~/a" in output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
    assert not privacy.check_file(out, out.name)


def test_runner_refuses_unknown_notebooks_and_overrides(capsys):
    assert eccl("demo", "--only", "11") == 2
    assert "04_align" in capsys.readouterr().err
    assert eccl("demo", "--set", "align.epoks=2") == 2
    assert "align.epochs" in capsys.readouterr().err


def test_refresh_is_for_the_plain_demo_alone(capsys):
    assert eccl("demo", "--refresh", "--set", "align.epochs=9") == 2
    assert "--refresh" in capsys.readouterr().err


def test_models_alone_runs_no_notebook_and_trains_every_cell(monkeypatch):
    asked = []
    monkeypatch.setattr(
        grid, "run_jobs", lambda waves, config, log: asked.extend(own for wave in waves for own in wave)
    )
    monkeypatch.setattr(run, "run_all", lambda *arguments, **options: pytest.fail("a notebook was run"))
    assert eccl("demo", "--models") == 0
    cells = {(own.variant, own.config.disease) for own in asked}
    assert {(key, task) for key in METHODS if METHODS[key].arm for task in TASKS} <= cells


def test_figures_of_an_earlier_run_are_left_out(tmp_path: Path):
    for name, moment in (("old.png", 100.0), ("new.png", 300.0), (".part.png", 300.0)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (moment, moment))
    assert [path.name for path in run.written_since(tmp_path, 200.0)] == ["new.png"]
    assert run.written_since(tmp_path / "none", 200.0) == []


def test_notebooks_are_chosen_by_number_and_the_real_ecg_has_its_own_run(tmp_path: Path, monkeypatch):
    ran = []
    monkeypatch.setattr(run, "execute", lambda source, target, given: ran.append((source.stem, target.stem)) or 0.0)
    run.run_all(run.chosen(["06", "09"]), {}, tmp_path, lambda line: None)
    assert ran == [("06_table1", "06_table1"), ("09_predict", "09_predict"), ("09_predict", run.REAL_ECG)]


def test_real_ecg_is_never_copied_into_the_checkout(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "DEMO_FIGURES", tmp_path / "demo")
    (tmp_path / "notebooks").mkdir()
    figures = tmp_path / "figures"
    figures.mkdir()
    for name in ("fig2a_latent.png", "real_ecg.png"):
        (figures / name).write_bytes(b"x")
    executed = []
    for name in ("09_predict", run.REAL_ECG):
        executed.append(tmp_path / f"{name}.ipynb")
        nbformat.write(_notebook(PARAMETERS), executed[-1])
    run.refresh(executed, run.written_since(figures, 0.0))
    assert [path.name for path in (tmp_path / "notebooks").iterdir()] == ["09_predict.ipynb"]
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["fig2a_latent.png"]
