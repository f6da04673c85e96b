"""A Dask scheduler with TLS, set up as docs/cluster.md says, runs jobs and rejects clients without a certificate."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eccl_lib.io.paths import ROOT
from tests.conftest import HANG

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
SERVER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, protocol="tls://", dashboard_address=None, host="127.0.0.1"
    )
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    cluster.close()
"""
CLIENT = """
import operator, sys
from pathlib import Path
from eccl_lib.io.workers import Workers, run_all

found = []
run_all([(operator.mul, 6, 7)], Workers("dask", 1, sys.argv[1]), Path(sys.argv[2]), found.append)
print("result", found)
"""


@pytest.fixture
def documented(tmp_path: Path) -> dict[str, str]:
    """The environment after the commands of the page, with the certificates in a home folder of its own."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificates")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    (certificates,) = [block for block in blocks if "openssl req" in block]
    (settings,) = [block for block in blocks if "REQUIRE_ENCRYPTION" in block]
    script = f"set -e\n{certificates}\ncd ~\n{settings}\nenv -0"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    environment = plain | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return dict(item.split("=", 1) for item in done.stdout.split("\0") if "=" in item)


def client(address: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", CLIENT, address, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def test_jobs_run_over_tls_and_a_client_without_the_certificate_is_rejected(documented, tmp_path):
    for name in ("ca.key", "key.pem"):
        assert (tmp_path / "dask-tls" / name).stat().st_mode & 0o077 == 0
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    process = subprocess.Popen(
        [sys.executable, str(server)], env=documented, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("tls://")
        done = client(address, tmp_path, documented)
        assert "result [42]" in done.stdout, done.stderr[-2000:]
        without = {name: value for name, value in documented.items() if not name.startswith("DASK_")}
        for refused in (address, address.replace("tls://", "tcp://")):
            done = client(refused, tmp_path, without)
            assert done.returncode != 0 and "result" not in done.stdout
            reason = "name no certificate" if refused == address else "no Dask scheduler answers"
            assert f"ConfigError: {refused}" in done.stderr or reason in done.stderr, done.stderr[-2000:]
    finally:
        process.communicate("", timeout=HANG)
