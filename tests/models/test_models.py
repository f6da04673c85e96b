"""Model sizes at paper scale, token order, masking, one real step."""

import pytest
import torch

from eccl_lib import losses
from eccl_lib.config.load import load
from eccl_lib.models import ecg_vit, heads, mae
from eccl_lib.models.cmae import CmrAutoencoder, CrossModalAutoencoder, EcgAutoencoder
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.pipeline.steps import CrossModalStep

PAPER, DEMO = load("paper"), load("demo")


def test_paper_vit_has_600_tokens_and_85_6_million_parameters_none_of_them_allocated():
    assert ecg_vit.grid(PAPER.ecg, 5000) == (12, 50)
    with torch.device("meta"):
        encoder = EcgEncoder(PAPER.ecg, 5000)
    assert next(encoder.parameters()).is_meta
    learned = sum(p.numel() for p in encoder.parameters()) / 1e6
    fixed = encoder.pos_embed.numel() / 1e6
    assert learned == pytest.approx(85.1, abs=0.1)
    assert learned + fixed == pytest.approx(85.6, abs=0.1)


@pytest.mark.parametrize(
    ("architecture", "millions", "width"), [("swin", 27.6, 768), ("resnet50", 23.7, 2048), ("vit", 95.0, 768)]
)
def test_cmr_encoders_of_the_paper_have_50_channels_and_their_published_sizes(architecture, millions, width):
    """Without classifiers Swin-T has 27.5 million weights, ResNet50 23.5, ViT-B/16 85.8; 50 channels add the rest."""
    with torch.device("meta"):
        encoder = cmr_encoder(load("paper", overrides={"cmr.architecture": architecture}))
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert encoder.num_features == width
    assert next(p for p in encoder.parameters() if p.dim() == 4).shape[1] == 50


@pytest.mark.parametrize("architecture", ["swin", "resnet50", "vit"])
def test_every_cmr_encoder_gives_one_feature_a_clip_and_looks_at_every_frame(architecture):
    config = load("demo", overrides={"cmr.architecture": architecture})
    encoder = cmr_encoder(config).eval()
    clip = torch.randn(2, 25, 56, 56, requires_grad=True)
    feature = encoder(clip)
    assert feature.shape == (2, encoder.num_features)
    feature[:, : encoder.num_features // 2].square().sum().backward()
    assert (clip.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("size", [56, 60, 224])
def test_cross_modal_autoencoder_gives_back_what_it_takes_in_whatever_the_size(size):
    sizes = {"store.clip_size": 60 if size == 60 else 224, "view.clip_size": size, "cmr.patch": 2, "cmr_vit.patch": 2}
    config = load("demo", overrides=sizes)
    cine = CmrAutoencoder(config.cmae, config.view)
    frames = torch.randn(2, 25, size, size)
    assert cine.decode(cine.encoder(frames)).shape == frames.shape
    assert cine.encoder(frames).shape == (2, config.cmae.latent) == (2, 256)
    signal = EcgAutoencoder(config.cmae, 1000)
    assert signal.decode(signal.encoder(torch.randn(2, 12, 1000))).shape == (2, 12, 1000)


def test_modality_dropout_draws_both_modalities_from_the_one_that_is_kept():
    model = CrossModalAutoencoder(DEMO.cmae, DEMO.view).eval()
    ecg, cmr = torch.randn(2, 12, 1000), torch.randn(2, 25, 56, 56)
    from_ecg = torch.tensor([True, False])
    _, cmr_error, *_ = model(ecg, cmr, from_ecg)
    kept = torch.stack([model.ecg.encoder(ecg)[0], model.cmr.encoder(cmr)[1]])
    literal = (model.cmr.decode(kept) - cmr).square().mean()
    assert torch.allclose(cmr_error, literal, rtol=1e-4)
    always = torch.tensor([True, True])
    other, same = model(ecg, cmr.roll(1, 1) * 2, always)[0], model(ecg, cmr, always)[0]
    assert torch.allclose(other, same)  # the CMR's latent is not used where the ECG's is kept


def test_cross_modal_loss_is_both_reconstructions_and_a_tenth_of_the_contrast():
    model = CrossModalAutoencoder(DEMO.cmae, DEMO.view)
    outputs = model(torch.randn(4, 12, 1000), torch.randn(4, 25, 56, 56), torch.tensor([True, False, True, False]))
    parts = CrossModalStep(model, None, None).loss(outputs)
    loss, contrastive = parts["loss"], losses.clip_loss(*outputs[2:], model.temperature())
    assert torch.isclose(loss, outputs[0] + outputs[1] + 0.1 * contrastive)
    loss.backward()
    assert model.temperature.log.grad.abs() > 0


def test_mae_of_the_paper_sees_120_of_600_tokens():
    assert mae.visible_tokens(600, 0.8) == 120


@pytest.mark.parametrize("config", [DEMO, PAPER], ids=["demo", "paper"])
def test_patches_follow_the_encoders_token_order_and_can_be_put_back(config):
    samples = 10 * config.view.ecg_rate
    ecg = torch.randn(2, 12, samples)
    patches = ecg_vit.patchify(ecg, config.ecg)
    rows, columns = ecg_vit.grid(config.ecg, samples)
    leads, length = config.ecg.patch_leads, config.ecg.patch_samples
    token = 3 if rows == 1 else 3 * columns + 7
    row, column = divmod(token, columns)
    expected = ecg[1, row * leads : (row + 1) * leads, column * length : (column + 1) * length].flatten()
    assert torch.equal(patches[1, token], expected)
    assert torch.equal(ecg_vit.unpatchify(patches, config.ecg), ecg)


def test_token_embedding_is_the_patch_embedding_in_patch_order():
    encoder = EcgEncoder(DEMO.ecg, 1000).eval()
    ecg = torch.randn(2, 12, 1000)
    weight = encoder.patch_embed.proj.weight.flatten(1)
    literal = ecg_vit.patchify(ecg, DEMO.ecg) @ weight.T + encoder.patch_embed.proj.bias + encoder.pos_embed[:, 1:]
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
    ecg, noise = torch.randn(2, 12, 1000), torch.rand(2, 120)
    predicted, _, mask = model(ecg, noise)
    hidden = ecg_vit.unpatchify(mask[:, :, None].expand(-1, -1, 100).contiguous(), DEMO.ecg) > 0
    changed = torch.where(hidden, torch.randn_like(ecg), ecg)
    assert torch.equal(model(changed, noise)[0], predicted)


def test_projections_lie_on_the_unit_sphere():
    z = heads.Projection(8, 256)(torch.randn(5, 8))
    assert z.shape == (5, 256) and torch.allclose(z.norm(dim=1), torch.ones(5))


def test_a_temperature_is_learned_only_where_asked_for_and_never_colder_than_a_hundredth():
    fixed, learned = (heads.Temperature(0.1, learned=choice) for choice in (False, True))
    assert not fixed.log.requires_grad and learned.log.requires_grad
    assert float(fixed().detach()) == pytest.approx(0.1)
    with torch.no_grad():
        learned.log.fill_(-20)
    assert float(learned().detach()) == pytest.approx(0.01)


def test_autoencoder_loss_follows_the_config():
    predicted, target, mask = torch.randn(2, 50, 240), torch.randn(2, 50, 240), torch.zeros(2, 50)
    mask[:, :40] = 1

    def loss(**changes):
        config = load("demo", overrides={f"mae.{name}": value for name, value in changes.items()})
        return float(MaskedAutoencoder(config.ecg, config.mae, 1000).loss(predicted, target, mask))

    error = (predicted - target).square()
    assert loss() == pytest.approx(float(error[:, :40].mean()), rel=1e-5)
    assert loss(loss_on="all") == pytest.approx(float(error.mean()), rel=1e-5)
    both = zip(predicted.flatten(1), target.flatten(1), strict=True)
    r = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in both]
    mixed = 0.75 * float(error.mean()) + 0.25 * (1 - sum(r) / 2)
    assert loss(loss_on="all", correlation_weight=0.25) == pytest.approx(mixed, rel=1e-5)


@pytest.mark.slow
def test_one_training_step_at_paper_scale():
    autoencoder = MaskedAutoencoder(PAPER.ecg, PAPER.mae, 5000)
    predicted, target, mask = autoencoder(torch.randn(1, 12, 5000), torch.rand(1, 600))
    loss = autoencoder.loss(predicted, target, mask)
    assert predicted.shape == (1, 600, 100)
    loss.backward()
    torch.optim.Adam(autoencoder.parameters(), fused=True).step()
    swin = cmr_encoder(PAPER)
    features = swin(torch.randn(1, 50, 224, 224))
    assert features.shape == (1, 768)
    features.square().mean().backward()
    torch.optim.Adam(swin.parameters(), fused=True).step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p).all() for m in (autoencoder, swin) for p in m.parameters())


def masked_share(noise, ratio=0.8):
    return mae.random_mask(noise, ratio)[2]


def test_space_time_masks_leave_few_leads_and_few_times_visible():
    noise = torch.rand(20, 120, generator=torch.Generator().manual_seed(0))
    visible = 1 - masked_share(mae.by_lead_and_time(noise, (12, 10))).unflatten(1, (12, 10))
    assert (visible.sum(dim=(1, 2)) == 24).all()
    leads, times = visible.amax(dim=2).sum(dim=1), visible.amax(dim=1).sum(dim=1)
    at_random = 1 - masked_share(noise).unflatten(1, (12, 10))
    assert (leads * times).mean() < 45 < (at_random.amax(dim=2).sum(dim=1) * at_random.amax(dim=1).sum(dim=1)).mean()


@pytest.mark.parametrize("normalise", [False, True])
def test_masked_squares_are_those_of_a_literal_loop(normalise):
    config = load("demo", overrides={"mae.normalise_target": normalise})
    model = MaskedAutoencoder(config.ecg, config.mae, 1000).eval()
    ecg = torch.randn(2, 12, 1000) * torch.arange(1, 13)[:, None]
    noise = torch.rand(2, 120)
    with torch.no_grad():
        squares = model.masked_squares(ecg, noise)
        predicted, target, mask = model(ecg, noise)
    for k in range(2):
        error = total = 0.0
        for token in range(120):
            lead, start = token // 10, 100 * (token % 10)
            patch = ecg[k, lead, start : start + 100]
            assert torch.equal(patch, target[k, token])
            if mask[k, token]:
                found = predicted[k, token]
                found = found * (patch.var() + 1e-6).sqrt() + patch.mean() if normalise else found
                error += (found - patch).square().sum().item()
                total += (patch - ecg[k, lead].mean()).square().sum().item()
        assert squares[k].tolist() == pytest.approx([error, total], rel=1e-4)


def test_a_normalised_target_makes_the_loss_independent_of_level_and_size():
    config = load("demo", overrides={"mae.normalise_target": True})
    model = MaskedAutoencoder(config.ecg, config.mae, 1000)
    target, predicted = torch.randn(2, 120, 100), torch.randn(2, 120, 100)
    mask = torch.ones(2, 120)
    plain, shifted = (model.loss(predicted, patches, mask).item() for patches in (target, 7 * target + 3))
    assert shifted == pytest.approx(plain, rel=1e-4)


def test_the_decoder_has_biases_of_query_key_and_value():
    names = dict(MaskedAutoencoder(DEMO.ecg, DEMO.mae, 1000).named_parameters())
    assert {"decoder.0.attn.qkv.bias", "encoder.blocks.0.attn.qkv.bias"} <= set(names)
