"""The cross-modal autoencoder of the row CMAE (Radhakrishnan et al. 2023): residual on the ECG, DenseNet on the CMR."""

import math

import torch
from torch import Tensor, nn

from eccl_lib import losses
from eccl_lib.config.schema import LEADS, CmaeConfig, ViewConfig
from eccl_lib.models.heads import Temperature

POOLED = {"ecg": 8, "cmr": 4}  # pooled size, in samples or pixels per side, before the latent; ours


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, at half or twice the length: (B, C, T) to (B, C', T / 2 or 2 T)."""

    def __init__(self, channels: int, out: int, *, up: bool) -> None:
        super().__init__()
        self.scale = nn.Upsample(scale_factor=2) if up else nn.AvgPool1d(2)
        self.body = nn.Sequential(
            nn.Conv1d(channels, out, 5, padding=2, bias=False),
            nn.BatchNorm1d(out),
            nn.ReLU(),
            nn.Conv1d(out, out, 5, padding=2, bias=False),
            nn.BatchNorm1d(out),
        )
        self.shortcut = nn.Conv1d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.scale(x)
        return torch.relu(self.body(x) + self.shortcut(x))


class DenseBlock(nn.Module):
    """Each layer reads all earlier outputs (Huang et al. 2017). (B, C, H, W) to (B, C + layers x growth, H, W)."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + k * growth),
                nn.ReLU(),
                nn.Conv2d(channels + k * growth, growth, 3, padding=1, bias=False),
            )
            for k in range(layers)
        )
        self.channels = channels + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class EcgAutoencoder(nn.Module):
    """Encode an ECG to its latent and decode it: (B, 12, T) to (B, latent) to (B, 12, T)."""

    def __init__(self, config: CmaeConfig, samples: int) -> None:
        super().__init__()
        widths = [config.ecg_width * 2 ** min(k, 3) for k in range(config.ecg_blocks)]
        length, short = samples, POOLED["ecg"]
        down = [ResidualBlock(a, b, up=False) for a, b in zip([len(LEADS), *widths], widths, strict=False)]
        self.encoder = nn.Sequential(
            *down, nn.AdaptiveAvgPool1d(short), nn.Flatten(), nn.Linear(widths[-1] * short, config.latent)
        )
        start = math.ceil(length / 2 ** len(widths))
        up = [ResidualBlock(a, b, up=True) for a, b in zip(widths[::-1], [*widths[-2::-1], widths[0]], strict=True)]
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, widths[-1] * start),
            nn.Unflatten(1, (widths[-1], start)),
            *up,
            nn.Conv1d(widths[0], len(LEADS), 5, padding=2),
        )
        self.samples = samples

    def decode(self, latent: Tensor) -> Tensor:
        """(B, latent) to (B, 12, T)."""
        return self.decoder(latent)[..., : self.samples]

    def forward(self, ecg: Tensor) -> Tensor:
        """The log-cosh reconstruction error of ECGs. ecg: (B, 12, T). Returns a scalar."""
        return losses.log_cosh(self.decode(self.encoder(ecg)), ecg)


class CmrAutoencoder(nn.Module):
    """Encode a cine to its latent and decode it: (B, F, H, W) to (B, latent) to (B, F, H, W)."""

    def __init__(self, config: CmaeConfig, view: ViewConfig) -> None:
        super().__init__()
        width, short = config.cmr_width, POOLED["cmr"]
        layers: list[nn.Module] = [nn.Conv2d(view.clip_frames, width, 3, stride=2, padding=1)]
        for count in config.cmr_layers:
            block = DenseBlock(width, config.cmr_growth, count)
            layers += [block, nn.Conv2d(block.channels, width, 1), nn.AvgPool2d(2)]
        self.encoder = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(short), nn.Flatten(), nn.Linear(width * short**2, config.latent)
        )
        halvings = 1 + len(config.cmr_layers)
        start = math.ceil(view.clip_size / 2**halvings)
        layers = [nn.Linear(config.latent, width * start**2), nn.Unflatten(1, (width, start, start))]
        for count in config.cmr_layers[::-1]:
            block = DenseBlock(width, config.cmr_growth, count)
            layers += [nn.Upsample(scale_factor=2), block, nn.Conv2d(block.channels, width, 1)]
        self.decoder = nn.Sequential(
            *layers, nn.Upsample(scale_factor=2), nn.Conv2d(width, view.clip_frames, 3, padding=1)
        )
        self.size = view.clip_size

    def decode(self, latent: Tensor) -> Tensor:
        """(B, latent) to (B, F, H, W)."""
        return self.decoder(latent)[..., : self.size, : self.size]

    def forward(self, cmr: Tensor) -> Tensor:
        """The mean squared reconstruction error of cines. cmr: (B, F, H, W). Returns a scalar."""
        return nn.functional.mse_loss(self.decode(self.encoder(cmr)), cmr)


class CrossModalAutoencoder(nn.Module):
    """Two autoencoders that share one latent of 256 values (Radhakrishnan et al. 2023).

    Loss: reconstruction of both modalities plus 0.1 x the symmetric contrastive loss on cosine similarity with a
    learned temperature. Modality dropout chooses, for each participant, the latent that both decoders receive. Same as
    published: two stages (each modality alone, then the pair), log-cosh error on the ECG and squared error on the CMR,
    residual and DenseNet convolutions. The inputs differ, because all rows of Table 1 read the same ones: ten seconds
    of 12 leads instead of one median beat, and the short-axis crop instead of 96 x 96 long-axis views. Depths, widths,
    augmentations and schedule therefore differ too.
    """

    def __init__(self, config: CmaeConfig, view: ViewConfig) -> None:
        super().__init__()
        self.ecg = EcgAutoencoder(config, 10 * view.ecg_rate)
        self.cmr = CmrAutoencoder(config, view)
        self.temperature = Temperature(config.temperature, learned=True)
        self.contrastive_weight = config.contrastive_weight

    def forward(self, ecg: Tensor, cmr: Tensor, from_ecg: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruct both modalities from one latent. ecg: (B, 12, T); cmr: (B, F, H, W).

        from_ecg: (B,) bool, True where this is the ECG's latent. Returns the reconstruction errors of ECG
        and CMR, scalars, and both latents, (B, latent) of unit norm.
        """
        latent_ecg, latent_cmr = self.ecg.encoder(ecg), self.cmr.encoder(cmr)  # (B, latent)
        latent = torch.where(from_ecg[:, None], latent_ecg, latent_cmr)
        ecg_error = losses.log_cosh(self.ecg.decode(latent), ecg)
        cmr_error = nn.functional.mse_loss(self.cmr.decode(latent), cmr)
        return ecg_error, cmr_error, *(nn.functional.normalize(z, dim=-1) for z in (latent_ecg, latent_cmr))
