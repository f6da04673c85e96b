"""Attention equals what the blocks compute; rollout and occlusion equal literal loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eccl_lib.config.method_schema import ECCL
from eccl_lib.config.schema import EcgEncoderConfig
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import attention
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.pipeline import models, stages
from eccl_lib.training.datasets import EcgDataset
from tests.conftest import tiny_config

SAMPLES = 100


@pytest.fixture(scope="module")
def encoder() -> EcgEncoder:
    torch.manual_seed(0)
    config = EcgEncoderConfig(patch_leads=1, patch_samples=20, width=24, depth=3, heads=3, dropout=0.0)
    encoder = EcgEncoder(config, SAMPLES).eval()
    for parameter in encoder.parameters():  # initial weights give almost uniform attention
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


@pytest.fixture(scope="module")
def ecg() -> torch.Tensor:
    return torch.randn(2, 12, SAMPLES, generator=torch.Generator().manual_seed(1))


def test_attention_times_values_is_the_blocks_own_output(encoder, ecg):
    block = encoder.blocks[1]
    x = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        values = attention.queries_keys_values(block, x)[2]
        mixed = (attention.attention_weights(block, x) @ values).transpose(1, 2).reshape(2, 7, 24)
        torch.testing.assert_close(block.attn.proj(mixed), block.attn(block.norm1(x)))


def test_attention_is_computed_from_the_tokens_that_enter_each_block(encoder, ecg):
    """The block inputs recorded in the encoder's forward pass give the same attention."""
    entered = []
    handles = [block.register_forward_pre_hook(lambda _, x: entered.append(x[0])) for block in encoder.blocks]
    with torch.no_grad():
        encoder(ecg)
    for handle in handles:
        handle.remove()
    found = attention.attention_of_all_blocks(encoder, ecg)
    assert len(found) == len(entered) == 3
    for share, block, x in zip(found, encoder.blocks, entered, strict=True):
        torch.testing.assert_close(share, attention.attention_weights(block, x))
        torch.testing.assert_close(share.sum(dim=-1), torch.ones(2, 3, 61))
    assert found[0].std() > 1e-4  # uniform attention would make this test pass always


def test_attention_over_patches_sums_to_one(encoder, ecg):
    found = attention.attention_of_all_blocks(encoder, ecg)
    for share in (attention.class_token_attention(found[-1]), attention.rollout(found)):
        assert share.shape == (2, 60)
        torch.testing.assert_close(share.sum(dim=1), torch.ones(2))


def test_rollout_equals_a_sum_over_all_paths():
    """Two blocks, three tokens: each step is the identity (weight one half) or attention (one half)."""
    blocks = [torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(k)).softmax(dim=-1) for k in range(2)]
    first, second = (block[0].mean(dim=0) for block in blocks)

    def step(block: torch.Tensor, to: int, start: int) -> float:
        return 0.5 * (to == start) + 0.5 * block[to, start].item()

    reach = [sum(step(second, 0, via) * step(first, via, start) for via in range(3)) for start in range(3)]
    wanted = torch.tensor(reach[1:]) / sum(reach[1:])
    torch.testing.assert_close(attention.rollout(blocks)[0], wanted)


def test_rollout_of_uniform_attention_is_uniform():
    uniform = [torch.full((1, 1, 5, 5), 0.2)] * 3
    torch.testing.assert_close(attention.rollout(uniform), torch.full((1, 4), 0.25))


def test_occlusion_equals_a_literal_loop(encoder, ecg):
    found = attention.occlusion(encoder, ecg[0], segment=20, batch=7)
    assert found.shape == (12, 5, 24)
    with torch.no_grad():
        whole = encoder(ecg[:1])
        for lead, column in ((0, 0), (3, 4), (11, 2)):
            changed = ecg[:1].clone()
            changed[0, lead, column * 20 : column * 20 + 20] = 0
            torch.testing.assert_close(found[lead, column], (whole - encoder(changed))[0])


def test_occlusion_detects_the_only_segment_with_an_effect():
    change = attention.occlusion(lambda x: x[:, 4, 40:60].sum(dim=1, keepdim=True), torch.ones(12, 100), segment=20)
    assert change[4, 2, 0] == 20
    assert change.count_nonzero() == 1


def test_segments_that_do_not_divide_the_ecg_raise():
    with pytest.raises(ValueError, match="100 samples cannot be divided into segments of 30"):
        attention.occlusion(lambda x: x, torch.ones(12, 100), segment=30)


@pytest.mark.usefixtures("shared_runs")
@pytest.mark.parametrize("disease", ["I48", "traits"])
def test_maps_are_those_of_the_finished_model(shared_runs, disease):
    config = tiny_config(disease)
    stages.train(config, "eccl", lambda line: None)
    data = open_cohort.load(config, lambda line: None)
    row = int(data.index("test")[1])
    maps = attention.attention_of_ecg(config, data, row)
    columns = maps.ecg.shape[1] // config.ecg.patch_samples
    assert maps.last_block.shape == maps.rollout.shape == (12 // config.ecg.patch_leads, columns)
    assert maps.occlusion.shape == (12, columns)
    np.testing.assert_array_equal(maps.ecg, EcgDataset(data, config).of(np.array([row]))[0].numpy())
    model, changed = models.ecg_model(config, ECCL, data), torch.from_numpy(maps.ecg.copy())[None]
    whole = model(changed)
    changed[0, 6, : config.ecg.patch_samples] = 0
    fall = (whole - model(changed))[0]
    wanted = fall.square().mean().sqrt() if disease == "traits" else fall[0]
    assert maps.occlusion[6, 0] == pytest.approx(wanted.item(), abs=1e-5)
    assert (maps.occlusion >= 0).all() or disease != "traits"


@pytest.mark.usefixtures("shared_runs")
def test_the_example_of_a_disease_is_the_participant_with_the_highest_score(shared_runs):
    run = stages.train(tiny_config("I48"), "eccl", lambda line: None)
    best = run.predictions.sort_values("score_I48").iloc[-1]
    assert attention.example_row(run) == best["row"]
    traits = stages.train(tiny_config("traits"), "eccl", lambda line: None)
    assert attention.example_row(traits) == traits.predictions["row"].iloc[0]
