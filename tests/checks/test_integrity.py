"""Every flipped bit of a run, a store or a view is found and named; a copy elsewhere is checked as well."""

import os
import shutil

import numpy as np
import pytest
import torch

from eccl_lib.checks import integrity
from eccl_lib.config.errors import DamagedError
from eccl_lib.data import open_cohort
from eccl_lib.io import paths
from eccl_lib.io.files import read_json, write_sealed
from eccl_lib.pipeline import stages
from eccl_lib.training import runs
from eccl_lib.training.runs import Run
from eccl_lib.training.state import read_checkpoint, write_checkpoint
from tests.conftest import eccl, tiny_config
from tests.pipeline.tiny_jobs import quiet

SHORT = {"align.epochs": 1, "align.warmup_epochs": 0, "mae.epochs": 1, "mae.warmup_epochs": 0, "cmr_training.epochs": 1}
SHORT |= {"cmr_training.warmup_epochs": 0}
# Written for people or for speed; no result is read from them.
UNCHECKED = {"verified.json", ".lock"}


@pytest.fixture(scope="module")
def results(tiny_store, tmp_path_factory):
    """A copy of a store with its views, and of the runs of ECCL and its parents."""
    runs = tmp_path_factory.mktemp("verify") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(runs))
        shutil.copytree(tiny_store / "demo-synthetic", runs / "demo-synthetic")
        stages.train(tiny_config(**SHORT), "eccl", quiet)
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(runs, copy)
    return copy


def checked_files(results):
    raw = {path for path in results.rglob("*") if "raw" in path.relative_to(results).parts}
    return sorted(p for p in results.rglob("*") if p.is_file() and p.name not in UNCHECKED and p not in raw)


def test_an_undamaged_copy_has_no_findings(results):
    found, count = integrity.check(results)
    assert found == []
    assert count > 20


def test_every_flipped_bit_is_found_and_its_file_is_named(results):
    files, generator = checked_files(results), np.random.default_rng(0)
    kinds = {path.suffix for path in files}
    assert {".json", ".npy", ".parquet", ".csv", ".safetensors"} <= kinds
    missed = []
    for k in range(200):
        path = files[k % len(files)]
        content = path.read_bytes()
        place, bit = int(generator.integers(len(content))), int(generator.integers(8))
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        try:
            found, _ = integrity.check(results)
            if str(path) not in {str(damage.path) for damage in found}:
                missed.append((path.name, place, bit))
        finally:
            path.write_bytes(content)
    assert missed == []


def test_a_missing_file_is_named_with_the_cure(results):
    weights = next(results.rglob("align/**/model.safetensors"))
    away = weights.with_suffix(".away")
    weights.rename(away)
    try:
        (damage,), _ = integrity.check(weights.parent)
        assert str(damage) == f"{weights}: it is missing. Remove its folder and run the same command again."
    finally:
        away.rename(weights)


def test_the_command_names_the_damage_and_ends_with_1(results, capsys, tmp_path):
    assert eccl("verify", results) == 0
    assert ", 0 damaged" in capsys.readouterr().out
    path = next(results.rglob("views/*.npy"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        assert eccl("verify", results) == 1
        assert str(path) in capsys.readouterr().err
    finally:
        path.write_bytes(content)
    assert eccl("verify", results / "nowhere") == 2
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", next(results.rglob("model.safetensors"))):
        assert eccl("verify", place) == 2  # nothing was checked


def test_a_changed_view_is_noticed_when_the_cohort_is_opened(tiny_store, tmp_path, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "runs"))
    shutil.copytree(tiny_store / "demo-synthetic", tmp_path / "runs" / "demo-synthetic")
    config = tiny_config()
    data = open_cohort.load(config, quiet)
    data.ecg_view(config.view)
    (view,) = (data.folder / "views").glob("ecg*.npy")
    content = bytearray(view.read_bytes())
    content[-1] ^= 1
    view.write_bytes(content)
    with pytest.raises(DamagedError, match=r"ecg-100hz.npy has changed since it was built"):
        data.ecg_view(config.view)
    view.unlink()
    data.ecg_view(config.view)  # the cure


def test_a_seal_is_inside_the_file_and_not_in_its_content(tmp_path):
    write_sealed(tmp_path / "a.json", {"b": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2]}
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("2", "3", 1))
    with pytest.raises(DamagedError, match="has changed since it was written"):
        read_json(tmp_path / "a.json")


def test_files_of_a_run_can_be_read_by_whom_the_umask_allows(results):
    assert paths.runs_root()  # the modes of a copy are those of the originals
    modes = {path.stat().st_mode & 0o777 for path in results.rglob("align/**/*") if path.is_file()}
    assert len(modes) == 1


def test_a_checkpoint_that_is_replaced_during_the_check_is_no_damage(tmp_path, monkeypatch):
    compared = integrity._compared

    def save(step: int) -> None:
        write_checkpoint(tmp_path, "f", {"epoch": 0, "step": step}, {"w": torch.full((3,), float(step))})

    def after_a_save(path, expected, cure):
        if path.name == "state-0000-000001.safetensors":
            save(2)
        return compared(path, expected, cure)

    save(1)
    monkeypatch.setattr(integrity, "_compared", after_a_save)
    assert integrity.check(tmp_path) == ([], 2)


def test_foreign_files_are_named_or_passed_over_and_none_is_waited_for(tmp_path):
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "manifest.json").write_text("[1]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    found, _ = integrity.check(tmp_path)
    assert {damage.path.name for damage in found} == {"manifest.json", "deep.json"}


def test_the_manifest_of_an_unfinished_training_is_sealed(tmp_path):
    state = {"epoch": 1, "step": 3, "best_score": 0.66}
    write_checkpoint(tmp_path, "mark", state, {"x": torch.zeros(2)})
    assert read_checkpoint(tmp_path)[0] == state
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("0.66", "8.66"))
    with pytest.raises(DamagedError, match="has changed since it was written"):
        read_checkpoint(tmp_path)


def test_a_copied_folder_beside_the_runs_is_passed_over(results, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(results))
    (run,) = Run.every("pretrain_ecg")
    copy = shutil.copytree(run.folder, run.folder.with_name(f"{run.folder.name}-old"))
    assert Run.every("pretrain_ecg") == [run]
    shutil.rmtree(copy)


def test_cached_features_can_be_read_without_the_right_to_write(results, monkeypatch):
    monkeypatch.setenv("ECCL_RUNS", str(results))
    (run,) = Run.every("pretrain_cmr")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(runs, "exclusive_lock", refuse)
    assert run.cached_array("features", None).ndim == 2
