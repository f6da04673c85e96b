"""Nothing the suite starts talks to another machine: it runs with the network shut off and does not even try."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eccl_lib.io import paths
from tests.conftest import TINY

TALKERS = {"requests", "urllib", "urllib3", "httpx", "aiohttp", "socket", "http", "ftplib", "smtplib", "wandb", "boto3"}
TALKERS |= {"huggingface_hub", "mlflow", "sentry_sdk", "tensorboard", "comet_ml", "neptune", "paramiko", "webbrowser"}

# Loaded by every Python process before anything else: whoever turns to another machine is written down and refused.
SHUT = """
import os, socket

def _refuse(what):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(what + "\\n")
    raise OSError("the network is shut off")

_connect, _resolve = socket.socket.connect, socket.getaddrinfo

def _local(host):
    return str(host) in ("127.0.0.1", "localhost", "::1", "None")

def connect(self, address):
    if self.family == socket.AF_UNIX or _local(address[0]):
        return _connect(self, address)
    _refuse(f"connect {address}")

def getaddrinfo(host, *rest, **more):
    return _resolve(host, *rest, **more) if _local(host) else _refuse(f"look up {host}")

socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def shut(tmp_path: Path) -> dict[str, str]:
    """An environment in which every Python process finds the network shut; ATTEMPTS names where tries are noted."""
    (tmp_path / "sitecustomize.py").write_text(SHUT)
    way = os.pathsep.join((str(tmp_path), str(paths.ROOT)))
    more = {"PYTHONPATH": way, "ATTEMPTS": str(tmp_path / "attempts"), "ECCL_RUNS": str(tmp_path / "runs")}
    return {**os.environ, **more, "OMP_NUM_THREADS": "1"}


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, cwd=paths.ROOT, check=False
    )


def test_the_guard_notices_whoever_tries(shut):
    done = run(shut, "-c", "import urllib.request; urllib.request.urlopen('http://example.org')")
    assert "the network is shut off" in done.stderr
    assert Path(shut["ATTEMPTS"]).read_text() == "look up example.org\n"


def test_cohort_and_training_never_turn_to_another_machine(shut):
    code = """
import json, sys
from eccl_lib.config.load import load
from eccl_lib.pipeline import stages
config = load("demo", disease="traits", overrides=json.loads(sys.argv[1]))
print(stages.train(config, "eccl").name)
"""

    settings = {**TINY, **{f"{section}.epochs": 1 for section in ("mae", "cmr_training", "align")}}
    settings = {key: value for key, value in settings.items() if not key.endswith("warmup_epochs")}
    done = run(shut, "-c", code, json.dumps(settings | {"synthetic.participants": 30, "runtime.workers": 2}))
    assert done.returncode == 0, done.stderr
    assert "align/eccl/traits" in done.stdout
    assert not Path(shut["ATTEMPTS"]).exists()


def test_no_module_imports_what_could_upload():
    for path in sorted((paths.ROOT / "eccl_lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not TALKERS & {name.split(".")[0] for name in names}, path
