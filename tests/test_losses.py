"""Losses against slow literal formulas and closed forms."""

import math

import torch

from eccl_lib import losses

TAU = 0.1


def unit(rows, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)


def literal_info_nce(anchors, others):
    """Eq. 1 as it is printed, one anchor at a time."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        scores = [math.exp(float(anchor @ other) / TAU) for other in others]
        total -= math.log(scores[i] / sum(scores))
    return total / len(anchors)


def test_each_direction_equals_the_literal_formula():
    z_ecg, z_cmr = unit(9, seed=1), unit(9, seed=2)
    logits = losses.similarity(z_ecg, z_cmr, TAU)
    assert math.isclose(float(losses.ecg_loss(logits)), literal_info_nce(z_ecg, z_cmr), rel_tol=1e-12)
    assert math.isclose(float(losses.cmr_loss(logits)), literal_info_nce(z_cmr, z_ecg), rel_tol=1e-12)
    half = 0.5 * literal_info_nce(z_ecg, z_cmr) + 0.5 * literal_info_nce(z_cmr, z_ecg)
    assert math.isclose(float(losses.clip_loss(z_ecg, z_cmr, TAU)), half, rel_tol=1e-12)


def test_equal_similarities_give_log_batch():
    z = unit(1).expand(37, -1)
    assert math.isclose(float(losses.clip_loss(z, z, TAU)), math.log(37), rel_tol=1e-12)


def test_clip_loss_does_not_care_about_the_order_of_pairs():
    z_ecg, z_cmr = unit(9, seed=1), unit(9, seed=2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    assert torch.isclose(losses.clip_loss(z_ecg, z_cmr, TAU), losses.clip_loss(z_ecg[order], z_cmr[order], TAU))


def test_missing_traits_carry_neither_loss_nor_gradient():
    predicted = torch.randn(5, 82, requires_grad=True)
    target = torch.randn(5, 82)
    target[0, 3] = target[4] = float("nan")
    loss = losses.trait_loss(predicted, target)
    loss.backward()
    pairs = [(i, j) for i in range(5) for j in range(82) if not math.isnan(target[i, j])]
    literal = sum(float(predicted[i, j].detach() - target[i, j]) ** 2 for i, j in pairs) / len(pairs)
    assert math.isclose(float(loss), literal, rel_tol=1e-5)
    assert predicted.grad[0, 3] == 0 and (predicted.grad[4] == 0).all() and torch.isfinite(predicted.grad).all()


def test_disease_loss_at_logit_zero_is_log_two():
    assert math.isclose(float(losses.disease_loss(torch.zeros(6, 1), torch.ones(6, 1))), math.log(2), rel_tol=1e-6)


def test_total_loss_weighs_the_task():
    assert losses.total_loss(torch.tensor(2.0), torch.tensor(3.0), 0.5) == 3.5


def test_masked_mse_ignores_visible_patches():
    target, mask = torch.randn(2, 6, 4), torch.tensor([[1.0, 0, 1, 0, 0, 1], [0, 1, 1, 1, 0, 0]])
    predicted = target + mask[:, :, None] * 0.5
    predicted[mask == 0] += 100
    assert torch.isclose(losses.masked_patch_mse(predicted, target, mask), torch.tensor(0.25))
