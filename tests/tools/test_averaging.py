"""The averaged weights are the mean of their files, and state their origin."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from eccl_lib.data.segmentation.unet import model, network  # noqa: E402
from tools.segmentation import averaging  # noqa: E402


def test_the_mean_is_written_with_the_metadata_of_its_files(tmp_path):
    files, weights = [], []
    for k in range(2):
        torch.manual_seed(k)
        weights.append(model.UNet().state_dict())
        files.append(tmp_path / f"phase{k}.safetensors")
        save_file({name: value.contiguous() for name, value in weights[-1].items()}, files[-1])
        files[-1].with_suffix(".json").write_text(json.dumps({"seed": k}))
    out = tmp_path / "mean.safetensors"
    averaging.main([*map(str, files), "--out", str(out), "--draws", "1"])
    found = load_file(out)
    for name, value in found.items():
        torch.testing.assert_close(value, (weights[0][name] + weights[1][name]) / 2)
    facts = network.HeartNet.load(out).facts
    assert facts["averaged"] == {"phase0.safetensors": {"seed": 0}, "phase1.safetensors": {"seed": 1}}
