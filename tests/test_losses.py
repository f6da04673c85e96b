"""Losses against slow literal formulas and closed forms."""

import math

import pytest
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


def test_log_cosh_is_the_logarithm_of_the_hyperbolic_cosine_and_does_not_overflow():
    error = torch.linspace(-5, 5, 41, dtype=torch.float64)
    assert torch.isclose(losses.log_cosh(error, torch.zeros_like(error)), error.cosh().log().mean())
    for predicted, target in ((2.0, 0.5), (0.5, 2.0), (-3.0, 1.0)):
        pair = (torch.tensor([value], dtype=torch.float64) for value in (predicted, target))
        assert math.isclose(float(losses.log_cosh(*pair)), math.log(math.cosh(predicted - target)), rel_tol=1e-12)
    far = losses.log_cosh(torch.tensor([1e4, -1e4]), torch.zeros(2))
    assert math.isclose(float(far), 1e4 - math.log(2), rel_tol=1e-6)


def literal_triplet(z_ecg, z_cmr, margin):
    """FaceNet's rule, one anchor and one candidate at a time; also which kind of negative each anchor got."""
    total, kinds = 0.0, []
    for i in range(len(z_ecg)):
        own = math.dist(z_ecg[i].tolist(), z_cmr[i].tolist())
        nearest, nearest_semi_hard = math.inf, math.inf
        for j in range(len(z_cmr)):
            if j == i:
                continue
            other = math.dist(z_ecg[i].tolist(), z_cmr[j].tolist())
            nearest = min(nearest, other)
            if own < other < own + margin:
                nearest_semi_hard = min(nearest_semi_hard, other)
        if nearest == math.inf:
            kinds.append("none")
            continue
        chosen = nearest_semi_hard if nearest_semi_hard < math.inf else nearest
        kinds.append("semi-hard" if nearest_semi_hard < math.inf else "hardest")
        total += max(0.0, own - chosen + margin)
    return total / len(z_ecg), kinds


@pytest.mark.parametrize(("margin", "batch"), [(2.5, 2), (2.5, 17), (0.3, 40), (1e-6, 12), (50.0, 12)])
def test_triplet_loss_equals_a_double_loop(margin, batch):
    generator = torch.Generator().manual_seed(batch)
    z_ecg, z_cmr = (torch.randn(batch, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    literal, _ = literal_triplet(z_ecg, z_cmr, margin)
    assert math.isclose(float(losses.triplet_loss(z_ecg, z_cmr, margin)), literal, rel_tol=1e-10)


def test_triplet_loss_falls_back_to_the_hardest_negative_anchor_by_anchor():
    z_ecg = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    z_cmr = torch.tensor([[60.0, 0.0], [10.0, 1.0], [3.0, 9.0]], dtype=torch.float64)
    literal, kinds = literal_triplet(z_ecg, z_cmr, 11.0)
    assert set(kinds) == {"semi-hard", "hardest"}  # the case holds both, else the test would show nothing
    assert math.isclose(float(losses.triplet_loss(z_ecg, z_cmr, 11.0)), literal, rel_tol=1e-12)


def test_triplet_loss_of_a_single_pair_is_zero_and_takes_a_gradient():
    z_ecg = torch.randn(1, 8, requires_grad=True)
    loss = losses.triplet_loss(z_ecg, torch.randn(1, 8), 2.5)
    loss.backward()
    assert float(loss.detach()) == 0 and (z_ecg.grad == 0).all()


def test_triplet_gradient_is_finite_where_an_ecg_lies_on_its_cmr():
    z = torch.randn(5, 8, requires_grad=True)
    losses.triplet_loss(z, z.detach().clone(), 2.5).backward()
    assert torch.isfinite(z.grad).all()


def test_a_triplet_tells_distances_apart_that_are_tiny_beside_the_vectors():
    generator = torch.Generator().manual_seed(3)
    far = 100 * torch.randn(1, 64, generator=generator)
    z_cmr = far + 1e-2 * torch.randn(12, 64, generator=generator)
    z_ecg = far + 1e-2 * torch.randn(12, 64, generator=generator)
    literal, _ = literal_triplet(z_ecg.double(), z_cmr.double(), 0.01)
    assert math.isclose(float(losses.triplet_loss(z_ecg, z_cmr, 0.01)), literal, rel_tol=1e-3)


def test_mixed_loss_is_the_mean_over_measured_targets_of_both_kinds():
    outputs, target = torch.randn(4, 3, dtype=torch.float64), torch.tensor([1.0, 0.0, 2.5]).repeat(4, 1).double()
    target[1, 0] = target[3, 2] = float("nan")
    terms = []
    for i in range(4):
        for j in range(3):
            o, t = float(outputs[i, j]), float(target[i, j])
            if not math.isnan(t):
                p = 1 / (1 + math.exp(-o))
                terms.append((o - t) ** 2 if j == 2 else -(t * math.log(p) + (1 - t) * math.log(1 - p)))
    found = losses.mixed_loss(outputs, target, torch.tensor([True, True, False]))
    assert math.isclose(float(found), sum(terms) / len(terms), rel_tol=1e-9) and len(terms) == 10
