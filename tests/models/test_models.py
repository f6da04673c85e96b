"""Model sizes at paper scale, token order, masking, one real step."""

import pytest
import torch

from eccl_lib.config import load
from eccl_lib.models import heads, mae, vit
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.models.swin import CmrEncoder
from eccl_lib.models.vit import EcgEncoder

PAPER, DEMO = load("paper"), load("demo")


def test_paper_vit_has_600_tokens_and_85_6_million_parameters_none_of_them_allocated():
    assert vit.grid(PAPER.ecg, 5000) == (12, 50)
    with torch.device("meta"):
        encoder = EcgEncoder(PAPER.ecg, 5000)
    assert next(encoder.parameters()).is_meta
    learned = sum(p.numel() for p in encoder.parameters()) / 1e6
    fixed = encoder.pos_embed.numel() / 1e6
    assert learned == pytest.approx(85.1, abs=0.1)
    assert learned + fixed == pytest.approx(85.6, abs=0.1)


def test_paper_swin_has_27_6_million_parameters():
    with torch.device("meta"):
        encoder = CmrEncoder(PAPER.cmr, PAPER.view)
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(27.6, abs=0.1)
    assert encoder.num_features == 768


def test_mae_of_the_paper_sees_120_of_600_tokens():
    assert mae.visible_tokens(600, 0.8) == 120


@pytest.mark.parametrize("config", [DEMO, PAPER], ids=["demo", "paper"])
def test_patches_follow_the_encoders_token_order_and_can_be_put_back(config):
    samples = 10 * config.view.ecg_rate
    ecg = torch.randn(2, 12, samples)
    patches = vit.patchify(ecg, config.ecg)
    rows, columns = vit.grid(config.ecg, samples)
    leads, length = config.ecg.patch_leads, config.ecg.patch_samples
    token = 3 if rows == 1 else 3 * columns + 7
    row, column = divmod(token, columns)
    expected = ecg[1, row * leads : (row + 1) * leads, column * length : (column + 1) * length].flatten()
    assert torch.equal(patches[1, token], expected)
    assert torch.equal(vit.unpatchify(patches, config.ecg), ecg)


def test_token_embedding_is_the_patch_embedding_in_patch_order():
    encoder = EcgEncoder(DEMO.ecg, 1000).eval()
    ecg = torch.randn(2, 12, 1000)
    weight = encoder.patch_embed.proj.weight.flatten(1)
    literal = vit.patchify(ecg, DEMO.ecg) @ weight.T + encoder.patch_embed.proj.bias + encoder.pos_embed[:, 1:]
    assert torch.allclose(encoder.tokens(ecg), literal, atol=1e-5)


def test_encoding_all_tokens_equals_the_plain_forward_pass():
    encoder = EcgEncoder(DEMO.ecg, 1000).eval()
    ecg = torch.randn(3, 12, 1000)
    assert torch.allclose(encoder.encode(encoder.tokens(ecg))[:, 0], encoder(ecg), atol=1e-5)


def test_mask_marks_what_is_not_kept_and_restore_undoes_the_shuffle():
    noise = torch.rand(4, 50)
    ids_keep, ids_restore, mask = mae.random_mask(noise, 0.8)
    assert ids_keep.shape == (4, 10) and (mask.sum(1) == 40).all()
    for i in range(4):
        assert set(ids_keep[i].tolist()) == set(torch.nonzero(mask[i] == 0).flatten().tolist())
        assert torch.equal(noise[i].sort().values[ids_restore[i]], noise[i])


def test_the_reconstruction_never_sees_masked_samples():
    model = MaskedAutoencoder(DEMO.ecg, DEMO.mae, 1000).eval()
    ecg, noise = torch.randn(2, 12, 1000), torch.rand(2, 50)
    _, predicted, mask = model(ecg, noise)
    hidden = vit.unpatchify(mask[:, :, None].expand(-1, -1, 12 * 20).contiguous(), DEMO.ecg) > 0
    changed = torch.where(hidden, torch.randn_like(ecg), ecg)
    assert torch.equal(model(changed, noise)[1], predicted)


def test_projections_lie_on_the_unit_sphere():
    z = heads.Projection(8, 256)(torch.randn(5, 8))
    assert z.shape == (5, 256) and torch.allclose(z.norm(dim=1), torch.ones(5))


@pytest.mark.slow
def test_one_training_step_at_paper_scale():
    autoencoder = MaskedAutoencoder(PAPER.ecg, PAPER.mae, 5000)
    loss, predicted, _ = autoencoder(torch.randn(1, 12, 5000), torch.rand(1, 600))
    assert predicted.shape == (1, 600, 100)
    loss.backward()
    torch.optim.Adam(autoencoder.parameters(), fused=True).step()
    swin = CmrEncoder(PAPER.cmr, PAPER.view)
    features = swin(torch.randn(1, 50, 224, 224))
    assert features.shape == (1, 768)
    features.square().mean().backward()
    torch.optim.Adam(swin.parameters(), fused=True).step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p).all() for m in (autoencoder, swin) for p in m.parameters())
