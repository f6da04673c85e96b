"""JupyterLab on a copy of the notebooks, and a headless Chromium that opens it. Needs the finished runs of the demo."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from eccl_lib.config.load import load
from eccl_lib.data import open_cohort
from eccl_lib.io import paths
from eccl_lib.pipeline.stages import spec
from tests.conftest import HANG

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
ACTION = 60_000  # milliseconds after which an element that a test looks for counts as missing

CONNECTED = """async () => {
  const session = jupyterapp.shell.currentWidget.sessionContext;
  await session.ready;
  await session.session.kernel.info;
}"""


def _unfinished() -> str:
    """What of the demo's runs is missing, "" if nothing."""
    config = load("demo", disease="I21")
    folder = paths.cohort_dir(config.scale, config.cohort, open_cohort.fingerprint(config))
    if not (folder / "manifest.json").is_file():
        return "the demo's cohort"
    data = open_cohort.load(config, lambda line: None)
    runs = [spec(load("demo", disease=task), "eccl").run(data) for task in ("I21", "traits")]
    return "" if all(run.done for run in runs) else "the demo's runs"


@pytest.fixture(scope="session", autouse=True)
def _finished_demo() -> None:
    if missing := _unfinished():
        pytest.skip(f"{missing} is not finished; run `eccl demo --models` first")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser without a download: the system's Chromium."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    from playwright.sync_api import sync_playwright

    # WebGL on the processor; a container has no sandbox of its own.
    flags = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab. url: with its token. folder: the copies of the notebooks that it opens."""

    url: str
    folder: Path


def start_lab(folder: Path, theme: str) -> tuple[Lab, subprocess.Popen]:
    """Start JupyterLab with its own settings on copies of the notebooks without outputs. Returns also its process."""
    notebooks, settings = folder / "notebooks", folder / "settings"
    notebooks.mkdir(parents=True)
    for path in paths.NOTEBOOKS.glob("*.ipynb"):
        _copy_without_outputs(path, notebooks / path.name)
    _write(settings, "apputils-extension", "themes", {"theme": THEMES[theme]})
    _write(settings, "apputils-extension", "notification", {"fetchNews": "false", "checkForUpdates": False})
    _write(settings, "notebook-extension", "tracker", {"windowingMode": "none"})  # keep all cells in the page
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--LabApp.expose_app_in_browser=True"]
    command += [f"--notebook-dir={notebooks}", f"--IdentityProvider.token={token}"]
    own = {"SETTINGS_DIR": settings, "WORKSPACES_DIR": folder / "workspaces"}
    environment = os.environ | {f"JUPYTERLAB_{name}": str(path) for name, path in own.items()}
    environment |= {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    environment |= {"PYTHONPATH": str(paths.ROOT), "ECCL_RUNS": str(paths.runs_root())}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    _wait_for(port, process, folder / "log")
    return Lab(f"http://127.0.0.1:{port}/lab/tree/{{}}.ipynb?token={token}", notebooks), process


def _copy_without_outputs(source: Path, target: Path) -> None:
    notebook = nbformat.read(source, as_version=4)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)


def _write(settings: Path, package: str, plugin: str, values: dict[str, Any]) -> None:
    path = settings / "@jupyterlab" / package / f"{plugin}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + HANG
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.3)
    process.kill()
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Opened:
    """A notebook after Run All. page: of playwright. executed: the notebook as JupyterLab saved it."""

    page: Any
    executed: nbformat.NotebookNode


def run_all(chromium: Any, lab: Lab, name: str) -> Opened:
    """Open a notebook, run all cells by JupyterLab's command, and save it."""
    page = chromium.new_page(viewport={"width": 1500, "height": 1080})
    page.set_default_timeout(ACTION)
    page.goto(lab.url.format(name))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.evaluate(CONNECTED)
    page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    # Both commands resolve when they are done; a click on the menu before the kernel is connected would open a dialog.
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    path = lab.folder / f"{name}.ipynb"
    return Opened(page, nbformat.read(path, as_version=4))


@pytest.fixture(scope="session", params=THEMES)
def explored(
    request: pytest.FixtureRequest, chromium: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    """00_explore after Run All, in each theme."""
    lab, process = start_lab(tmp_path_factory.mktemp(request.param), request.param)
    try:
        yield run_all(chromium, lab, "00_explore")
    finally:
        process.terminate()
        process.wait(HANG)
