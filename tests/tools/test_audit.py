"""The audit ends with 0 only where every package was compared with the database; the list of licences is complete."""

from __future__ import annotations

import json
import stat
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tools import audit, licences

CHECKED = {"name": "a", "version": "1.0", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found"}
VULNERABLE = {"name": "c", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([CHECKED], 0, "1 packages checked, 0 known"),
        ([CHECKED, VULNERABLE], 1, "c 2.0: CVE-1; mended in: 2.1"),
        ([CHECKED, SKIPPED], 3, "1 packages could not be checked: b"),
        ([SKIPPED], 3, "nothing was checked"),
    ],
)
def test_the_exit_status_and_the_words_say_what_was_checked(packages, status, says, tmp_path, monkeypatch, capsys):
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps({'dependencies': packages}))})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "argv", ["audit", str(program)])
    assert audit.main() == status
    assert says in capsys.readouterr().out


def test_a_database_that_is_not_reached_is_not_taken_for_a_clean_result(tmp_path: Path, monkeypatch, capsys):
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport sys; sys.exit('connection failed')\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "argv", ["audit", str(program)])
    assert audit.main() == 3
    assert "nothing was checked" in capsys.readouterr().out


def test_every_installed_package_is_listed_with_its_licence():
    rows = {name: licence for name, _, licence in licences.table(distributions())}
    assert {"torch", "numpy", "pandas", "timm"} <= rows.keys()
    assert "BSD" in rows["numpy"] and "BSD" in rows["torch"]
    assert rows["timm"].startswith("Apache")
    assert all("\n" not in licence for licence in rows.values())
