"""Public ECG models: published keys, arithmetic against slow formulas, preparation of the ECGs, wrong files."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv1d, gelu, layer_norm, linear, pad

from eccl_lib.config.errors import ConfigError, MissingError, UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.io.files import sha256
from eccl_lib.models.public import ADAPTERS, ecg_jepa, ecgfounder, load_public, st_mem

CPU = torch.device("cpu")
NAMES = ("ecgfounder", "ecg_jepa", "st_mem")


def founder_shapes(stages):
    """Keys and shapes as the published definition lists them; the batch norms are part of it."""

    def norm(name, size):
        values = {f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}
        return values | {f"{name}.num_batches_tracked": ()}

    shapes = {"first_conv.conv.weight": (64, 12, 16), "first_conv.conv.bias": (64,), **norm("first_bn", 64)}
    before = 64
    for s, (width, blocks) in enumerate(stages):
        for b in range(blocks):
            key, size = f"stage_list.{s}.block_list.{b}", before if b == 0 else width
            kernels = {"conv1": (width, size, 1), "conv2": (width, 16, 16), "conv3": (width, width, 1)}
            for name, shape in kernels.items():
                shapes |= {f"{key}.{name}.conv.weight": shape, f"{key}.{name}.conv.bias": (width,)}
            shapes |= norm(f"{key}.bn1", size) | norm(f"{key}.bn2", width) | norm(f"{key}.bn3", width)
            shapes |= {f"{key}.se_fc1.weight": (width // 2, width), f"{key}.se_fc1.bias": (width // 2,)}
            shapes |= {f"{key}.se_fc2.weight": (width, width // 2), f"{key}.se_fc2.bias": (width,)}
        before = width
    return shapes | {"dense.weight": (150, before), "dense.bias": (150,)}


def layer(name, outputs, inputs=0):
    """Weight and bias of a linear layer, or of a norm if inputs is 0."""
    return {f"{name}.weight": (outputs, inputs) if inputs else (outputs,), f"{name}.bias": (outputs,)}


def jepa_shapes(depth):
    shapes = {"pos_embed": (400, 768), **layer("W_P", 768, 50), **layer("norm", 768)}
    for k in range(depth):
        key = f"encoder_blocks.blocks.{k}"
        shapes |= layer(f"{key}.norm1", 768) | layer(f"{key}.norm2", 768) | {f"{key}.attn.qkv.weight": (2304, 768)}
        shapes |= layer(f"{key}.attn.proj", 768, 768) | layer(f"{key}.mlp.fc1", 3072, 768)
        shapes |= layer(f"{key}.mlp.fc2", 768, 3072)
    return shapes


def st_mem_shapes(depth):
    shapes = {"pos_embedding": (1, 32, 768), "sep_embedding": (768,), **layer("norm", 768)}
    shapes |= {f"lead_embeddings.{k}": (768,) for k in range(12)}
    shapes |= layer("to_patch_embedding.1", 75) | layer("to_patch_embedding.2", 768, 75)
    shapes |= layer("to_patch_embedding.3", 768)
    for k in range(depth):
        key = f"block{k}"
        shapes |= layer(f"{key}.attn.norm", 768) | layer(f"{key}.attn.fn.to_qkv", 2304, 768)
        shapes |= layer(f"{key}.attn.fn.to_out.0", 768, 768) | layer(f"{key}.ff.norm", 768)
        shapes |= layer(f"{key}.ff.fn.net.0", 3072, 768) | layer(f"{key}.ff.fn.net.3", 768, 3072)
    return shapes


SMALL_STAGES = ((64, 2), (160, 2), (400, 1))  # as the published ones start, with a growth by an even number of channels
ENTRIES = {"ecgfounder": "state_dict", "ecg_jepa": "encoder", "st_mem": "model"}


def random_weights(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def values(key, shape):
        if key.endswith("num_batches_tracked"):
            return torch.tensor(7)
        fan = shape[-1] * (shape[1] if len(shape) == 3 else 1)
        spread = 1 / np.sqrt(fan) if len(shape) > 1 else 0.1
        return spread * torch.randn(shape, generator=generator) + float("norm" in key and key.endswith("weight"))

    return {key: values(key, shape) for key, shape in shapes.items()}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A function that writes weights of a small version of a model; returns them and the file."""
    monkeypatch.setattr(ecgfounder, "STAGES", SMALL_STAGES)
    monkeypatch.setattr(ecg_jepa, "DEPTH", 2)
    monkeypatch.setattr(st_mem, "DEPTH", 2)
    shapes = {"ecgfounder": founder_shapes(SMALL_STAGES), "ecg_jepa": jepa_shapes(2), "st_mem": st_mem_shapes(2)}

    def write(name, change=lambda weights: None, **beside):
        weights = random_weights(shapes[name])
        change(weights)
        path = tmp_path / f"{name}.pth"
        torch.save({ENTRIES[name]: weights, "epoch": 3, **beside}, path)
        return weights, path

    return write


@pytest.fixture(scope="module")
def ecgs():
    """Three random ECGs of 12 leads, in mV."""
    noise = np.random.default_rng(0).normal(size=(3, 12, 5000)).cumsum(axis=-1) * 0.02
    return torch.from_numpy(noise - noise.mean(axis=-1, keepdims=True)).float()


@pytest.mark.parametrize(
    ("name", "shapes", "millions"),
    [
        ("ecgfounder", founder_shapes([(64, 2), (160, 2), (160, 2), (400, 3), (400, 3), (1024, 4), (1024, 4)]), 30.7),
        ("ecg_jepa", jepa_shapes(12), 85.4),
        ("st_mem", st_mem_shapes(12), 85.2),
    ],
)
def test_full_models_have_the_published_keys_and_the_declared_input_and_width(name, shapes, millions):
    adapter = ADAPTERS[name]
    with torch.device("meta"):
        module = adapter.build()
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    assert own == {key: shape for key, shape in shapes.items() if key not in adapter.dropped}
    assert set(adapter.dropped) <= set(shapes)
    assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    windows = adapter.prepare(torch.zeros(2, 12, 5000))
    assert windows.shape[2:] == (len(adapter.leads), adapter.seconds * adapter.rate)
    assert windows.isfinite().all()
    assert module(windows[:, 0].float().to("meta")).shape == (2, adapter.width)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_file_are_loaded_as_they_are_and_frozen(small, name):
    weights, path = small(name, val_auroc=np.float64(0.9), config={"lr": 1e-3}, optimizer=None)
    encoder = load_public(name, path, CPU)
    own = encoder.module.state_dict()
    assert set(own) == set(weights) - set(ADAPTERS[name].dropped)
    assert all(torch.equal(own[key], weights[key]) for key in own)
    assert encoder.sha256 == sha256(path) and not encoder.module.training
    assert not any(p.requires_grad for p in encoder.module.parameters())


def test_half_precision_weights_give_a_model_in_single_precision(small):
    def halve(weights):
        weights.update({key: value.half() for key, value in weights.items() if value.is_floating_point()})

    _, path = small("ecg_jepa", halve)
    assert {p.dtype for p in load_public("ecg_jepa", path, CPU).module.parameters()} == {torch.float32}


# Arithmetic: each model again, literally, in double precision and from the published keys.


def same(x, weights, key, stride=1, groups=1):
    """Convolution whose output has ceil(T / stride) samples; the odd sample of the padding is on the right."""
    kernel = weights[f"{key}.conv.weight"].shape[-1]
    outputs = int(np.ceil(x.shape[-1] / stride))
    total = max(0, (outputs - 1) * stride + kernel - x.shape[-1])
    x = torch.cat([x.new_zeros(*x.shape[:2], total // 2), x, x.new_zeros(*x.shape[:2], total - total // 2)], dim=-1)
    return conv1d(x, weights[f"{key}.conv.weight"], weights[f"{key}.conv.bias"], stride, groups=groups)


def swish(x):
    return x / (1 + torch.exp(-x))


def literal_founder(ecg, weights):
    x = swish(same(ecg, weights, "first_conv", 2))
    for s, (width, blocks) in enumerate(SMALL_STAGES):
        for b in range(blocks):
            key, stride = f"stage_list.{s}.block_list.{b}", 2 if b == 0 else 1
            y = same(x if (s, b) == (0, 0) else swish(x), weights, f"{key}.conv1")
            y = same(swish(y), weights, f"{key}.conv2", stride, width // 16)
            y = same(swish(y), weights, f"{key}.conv3")
            gate = swish(linear(y.mean(-1), weights[f"{key}.se_fc1.weight"], weights[f"{key}.se_fc1.bias"]))
            gate = torch.sigmoid(linear(gate, weights[f"{key}.se_fc2.weight"], weights[f"{key}.se_fc2.bias"]))
            if stride == 2:  # pairs of samples; a last single sample is compared with zero
                x = pad(x, (0, x.shape[-1] % 2))
                x = torch.maximum(x[..., 0::2], x[..., 1::2])
            added = width - x.shape[1]
            left, right = (x.new_zeros(len(x), n, x.shape[-1]) for n in (added // 2, added - added // 2))
            x = y * gate[:, :, None] + torch.cat([left, x, right], dim=1)
    return x.mean(-1)


def norm(x, weights, key):
    return layer_norm(x, x.shape[-1:], weights[f"{key}.weight"], weights[f"{key}.bias"], 1e-5)


def attention(qkv, heads, allowed=None):
    """Softmax attention head by head. qkv: (B, L, 3 D)."""
    query, key, value = qkv.chunk(3, dim=-1)
    size, out = query.shape[-1] // heads, []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        score = query[..., part] @ key[..., part].transpose(1, 2) / np.sqrt(size)
        share = score.exp() if allowed is None else score.exp() * allowed
        out.append(share / share.sum(-1, keepdim=True) @ value[..., part])
    return torch.cat(out, dim=-1)


def dense(x, weights, key):
    return linear(x, weights[f"{key}.weight"], weights.get(f"{key}.bias"))


def literal_jepa(ecg, weights):
    patches = [ecg[:, lead, 50 * k : 50 * k + 50] for lead in range(8) for k in range(50)]
    x = dense(torch.stack(patches, dim=1), weights, "W_P")
    allowed = torch.tensor([[float(i // 50 == j // 50 or i % 50 == j % 50) for j in range(400)] for i in range(400)])
    for k in range(2):
        key = f"encoder_blocks.blocks.{k}"
        x = x + weights["pos_embed"]
        mixed = attention(dense(norm(x, weights, f"{key}.norm1"), weights, f"{key}.attn.qkv"), 16, allowed.double())
        x = x + dense(mixed, weights, f"{key}.attn.proj")
        hidden = gelu(dense(norm(x, weights, f"{key}.norm2"), weights, f"{key}.mlp.fc1"))
        x = x + dense(hidden, weights, f"{key}.mlp.fc2")
    return norm(x, weights, "norm").mean(1)


def literal_st_mem(ecg, weights):
    tokens, place, separator = [], weights["pos_embedding"][0], weights["sep_embedding"]
    for lead in range(12):
        own = weights[f"lead_embeddings.{lead}"]
        tokens.append((separator + place[0] + own).expand(len(ecg), -1))
        for k in range(30):
            patch = norm(ecg[:, lead, 75 * k : 75 * k + 75], weights, "to_patch_embedding.1")
            patch = norm(dense(patch, weights, "to_patch_embedding.2"), weights, "to_patch_embedding.3")
            tokens.append(patch + place[k + 1] + own)
        tokens.append((separator + place[31] + own).expand(len(ecg), -1))
    x = torch.stack(tokens, dim=1)
    for k in range(2):
        qkv = dense(norm(x, weights, f"block{k}.attn.norm"), weights, f"block{k}.attn.fn.to_qkv")
        x = x + dense(attention(qkv, 12), weights, f"block{k}.attn.fn.to_out.0")
        hidden = gelu(dense(norm(x, weights, f"block{k}.ff.norm"), weights, f"block{k}.ff.fn.net.0"))
        x = x + dense(hidden, weights, f"block{k}.ff.fn.net.3")
    kept = [32 * lead + k for lead in range(12) for k in range(1, 31)]
    return norm(x[:, kept].mean(1), weights, "norm")


LITERAL = {"ecgfounder": literal_founder, "ecg_jepa": literal_jepa, "st_mem": literal_st_mem}


@pytest.mark.parametrize("name", NAMES)
def test_features_equal_the_published_arithmetic_written_out(small, ecgs, name):
    weights, path = small(name)
    found = load_public(name, path, CPU).features(ecgs)
    windows = ADAPTERS[name].prepare(ecgs)  # (B, K, leads, T)
    precise = {key: value.double() for key, value in weights.items()}
    expected = torch.stack([LITERAL[name](windows[:, k], precise) for k in range(windows.shape[1])]).mean(0)
    assert found.shape == expected.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-4)
    assert expected.std(dim=0).mean() > 1e-3  # the ECGs have different features


@pytest.mark.parametrize("name", NAMES)
def test_a_recordings_features_do_not_depend_on_its_batch(small, ecgs, name):
    _, path = small(name)
    encoder = load_public(name, path, CPU)
    torch.testing.assert_close(encoder.features(ecgs)[1:2], encoder.features(ecgs[1:2]), atol=1e-5, rtol=1e-4)


def test_ecgs_of_another_shape_are_refused(small):
    _, path = small("ecgfounder")
    with pytest.raises(ValueError, match=r"shape \(2, 12, 2500\), not \(B, 12, 5000\)"):
        load_public("ecgfounder", path, CPU).features(torch.zeros(2, 12, 2500))


# Preparation.


@pytest.mark.parametrize("name", NAMES)
def test_each_row_of_the_input_is_the_declared_lead(name):
    """A lead with the only signal is found in its own row."""
    adapter = ADAPTERS[name]
    beat = torch.sin(2 * torch.pi * 8 * torch.arange(5000) / 500)
    for place, lead in enumerate(LEADS):
        ecg = torch.zeros(1, 12, 5000)
        ecg[0, place] = beat
        power = adapter.prepare(ecg)[0].var(dim=-1)  # (K, leads)
        expected = [lead == other for other in adapter.leads]
        assert (power > 0.1).tolist() == [expected] * len(power)


def test_jepa_reads_eight_leads_in_millivolts_at_250_hz():
    time = torch.arange(5000, dtype=torch.float64) / 500
    ecg = torch.sin(2 * torch.pi * 7 * time) * torch.arange(1, 13)[None, :, None]  # whole periods: exact resampling
    expected = torch.sin(2 * torch.pi * 7 * time[::2]) * torch.tensor([1, 2, 7, 8, 9, 10, 11, 12])[:, None]
    torch.testing.assert_close(ecg_jepa.prepare(ecg)[0, 0], expected, atol=1e-9, rtol=0)
    fast = torch.sin(2 * torch.pi * 180 * time).expand(1, 12, -1)  # above half of the new rate
    assert ecg_jepa.prepare(fast).abs().max() < 1e-9


def test_founder_is_standardised_over_all_leads_together(ecgs):
    found = ecgfounder.prepare(ecgs)[:, 0]
    for own, ecg in zip(found.numpy(), ecgs.numpy().astype(np.float64), strict=True):
        np.testing.assert_allclose(own, (ecg - ecg.mean()) / ecg.std(), atol=1e-6)
    torch.testing.assert_close(ecgfounder.prepare(3 * ecgs + 1)[:, 0], found, atol=1e-6, rtol=1e-5)


def test_st_mem_filters_and_standardises_three_windows():
    time = torch.arange(5000, dtype=torch.float64) / 500
    wanted = torch.sin(2 * torch.pi * 9.3 * time)
    drift, mains = 3 * torch.sin(2 * torch.pi * 0.1 * time), torch.sin(2 * torch.pi * 60 * time)
    ecg = (wanted + drift + mains) * torch.linspace(0.5, 2, 12, dtype=torch.float64)[:, None]
    windows = st_mem.prepare(ecg[None])[0]  # (3, 12, 2250)
    torch.testing.assert_close(windows.mean(dim=(1, 2)), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(windows.std(dim=(1, 2), correction=0), torch.ones(3, dtype=torch.float64))
    for window, start in zip(windows, (0, 0.5, 1), strict=True):
        expected = torch.sin(2 * torch.pi * 9.3 * (torch.arange(2250) / 250 + start))
        inner = slice(500, 1750)  # the filter has edge effects
        together = torch.corrcoef(torch.stack([window[11, inner], expected[inner].double()]))[0, 1]
        assert together > 0.995
    torch.testing.assert_close(windows[:, 11].std(dim=-1) / windows[:, 0].std(dim=-1), torch.full((3,), 4.0).double())


def test_leads_without_any_signal_give_zeros():
    for name in NAMES:
        assert (ADAPTERS[name].prepare(torch.zeros(1, 12, 5000)) == 0).all()


def test_lead_order_matters_and_jepa_ignores_the_derived_leads(small, ecgs):
    swapped = ecgs[:, [0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 10, 11]]
    derived = ecgs.clone()
    derived[:, 2:6] = 0
    for name in NAMES:
        _, path = small(name)
        encoder = load_public(name, path, CPU)
        before = encoder.features(ecgs)
        assert (encoder.features(swapped) - before).abs().max() > 1e-3
        assert torch.equal(encoder.features(derived), before) == (name == "ecg_jepa")


# Wrong files.


def test_an_unknown_model_lists_the_known_ones(tmp_path):
    with pytest.raises(
        ConfigError, match="no public model is named ecgfinder; choose one of ecgfounder, ecg_jepa, st_mem"
    ):
        load_public("ecgfinder", tmp_path / "w.pth", CPU)


def test_an_absent_file_says_where_the_weights_are(tmp_path):
    for path in (tmp_path / "w.pth", tmp_path):
        with pytest.raises(
            MissingError, match=r"is not a file. Download the weights of st_mem from the README of github"
        ):
            load_public("st_mem", path, CPU)


@pytest.mark.parametrize("content", [b"", b"weights", bytes(range(256)) * 40, b"PK\x03\x04" + bytes(200)])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(
        UnreadableError, match=r"w\.pth is not a file of torch\.save, or it is damaged\. Use the published"
    ):
        load_public("ecgfounder", path, CPU)


def test_a_truncated_file_is_damaged(small):
    _, path = small("ecgfounder")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UnreadableError, match="or it is damaged"):
        load_public("ecgfounder", path, CPU)


class Trap:
    """An object whose reading would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, zipped):
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    torch.save({"state_dict": Trap(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnreadableError, match="holds Python objects beside tensors; reading them could run code"):
        load_public("ecgfounder", path, CPU)
    assert not mark.exists()


def test_weights_outside_their_published_entry_are_not_searched(small):
    weights, path = small("ecg_jepa")
    for content in (weights, {"model": weights}, {"encoder": 3}, {"encoder": {"norm.weight": [1.0]}}, [weights]):
        torch.save(content, path)
        with pytest.raises(UnreadableError, match="has no state-dict under encoder; its content starts with: "):
            load_public("ecg_jepa", path, CPU)


def change_shape(weights):
    weights["norm.weight"] = torch.ones(384)


def not_finite(weights):
    weights["W_P.weight"][3, 4] = torch.nan


def lose(weights):
    del weights["encoder_blocks.blocks.1.mlp.fc2.bias"], weights["pos_embed"]


def gain(weights):
    weights["encoder_blocks.blocks.0.attn.qkv.bias"] = torch.zeros(2304)


def rename(weights):
    for key in list(weights):
        weights[f"module.{key}"] = weights.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose, r"27 keys: 2 missing \(first: encoder_blocks.blocks.1.mlp.fc2.bias\)"),
        (gain, r"27 keys: 1 unexpected \(first: encoder_blocks.blocks.0.attn.qkv.bias\)"),
        (rename, r"27 missing \(first: W_P.bias\), 27 unexpected \(first: module.W_P.bias\)"),
        (change_shape, r"norm.weight has shape \(384,\), not \(768,\)"),
        (not_finite, "is damaged: W_P.weight has values that are not finite"),
    ],
)
def test_weights_that_fit_in_part_are_refused(small, change, message):
    _, path = small("ecg_jepa", change)
    with pytest.raises(UnreadableError, match=f"ecg_jepa.pth .*{message}. Use the published weights of ecg_jepa"):
        load_public("ecg_jepa", path, CPU)


def test_only_the_declared_classifier_may_be_absent_or_dropped(small):
    def without(weights):
        del weights["dense.weight"], weights["dense.bias"]

    def second(weights):
        weights["dense2.weight"] = torch.zeros(2)

    load_public("ecgfounder", small("ecgfounder", without)[1], CPU)
    with pytest.raises(UnreadableError, match=r"1 unexpected \(first: dense2.weight\)"):
        load_public("ecgfounder", small("ecgfounder", second)[1], CPU)
