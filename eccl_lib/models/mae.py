"""Masked autoencoder on the ECG (Sec. 2.1, after He et al. 2022)."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from eccl_lib import losses
from eccl_lib.config.schema import EcgEncoderConfig, MaeConfig
from eccl_lib.models.ecg_vit import EcgEncoder, grid, initialise, patchify, positions


class MaskedAutoencoder(nn.Module):
    """x_hat = g(f(X_v)): the encoder f sees the visible tokens only, the decoder g predicts the masked ones."""

    def __init__(self, ecg: EcgEncoderConfig, mae: MaeConfig, samples: int) -> None:
        super().__init__()
        self.ecg_config, self.mae_config = ecg, mae
        self.encoder = EcgEncoder(ecg, samples, dropout=0.0)  # masking already regularises the training
        self.to_decoder = nn.Linear(ecg.width, mae.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, mae.decoder_width))
        self.register_buffer("decoder_pos", positions(mae.decoder_width, grid(ecg, samples)), persistent=False)
        self.decoder = nn.Sequential(*(Block(mae.decoder_width, mae.decoder_heads) for _ in range(mae.decoder_depth)))
        self.decoder_norm = nn.LayerNorm(mae.decoder_width)
        self.to_samples = nn.Linear(mae.decoder_width, ecg.patch_leads * ecg.patch_samples)
        for part in (self.to_decoder, self.decoder, self.to_samples):
            part.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, ecg: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mask and reconstruct ECGs. ecg: (B, 12, T); noise: (B, L): the tokens with the least noise stay visible.

        Returns predicted and true patches, each (B, L, P), and the mask (B, L): 0 is visible, 1 is masked.
        """
        ids_keep, ids_restore, mask = random_mask(noise, self.mae_config.mask_ratio)
        visible = take(self.encoder.tokens(ecg), ids_keep)  # (B, L_v, D)
        predicted = self.decode(self.encoder.encode(visible), ids_restore)
        return predicted, patchify(ecg, self.ecg_config), mask

    def loss(self, predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Masked-patch error (Sec. 2.1), or the authors' variant. predicted, target: (B, L, P); mask: (B, L)."""
        everywhere, weight = self.mae_config.loss_on == "all", self.mae_config.correlation_weight
        error = losses.patch_mse(predicted, target) if everywhere else losses.masked_patch_mse(predicted, target, mask)
        return error if not weight else (1 - weight) * error + weight * losses.patch_decorrelation(predicted, target)

    def decode(self, encoded: Tensor, ids_restore: Tensor) -> Tensor:
        """Predict all patches. encoded: (B, 1 + L_v, D); ids_restore: (B, L). Returns (B, L, P)."""
        encoded = self.to_decoder(encoded)
        hidden = self.mask_token.expand(len(encoded), ids_restore.shape[1] + 1 - encoded.shape[1], -1)
        tokens = take(torch.cat([encoded[:, 1:], hidden.to(encoded.dtype)], dim=1), ids_restore)
        tokens = torch.cat([encoded[:, :1], tokens], dim=1) + self.decoder_pos
        return self.to_samples(self.decoder_norm(self.decoder(tokens)))[:, 1:]


def visible_tokens(length: int, mask_ratio: float) -> int:
    """Number of tokens that the encoder sees; 600 at a mask ratio of 0.8 gives 120."""
    return max(1, length - round(length * mask_ratio))


def random_mask(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the tokens with the least noise. noise: (B, L).

    Returns ids_keep (B, L_v), ids_restore (B, L) that undoes the shuffle, mask (B, L): 0 is visible, 1 is masked.
    """
    keep = visible_tokens(noise.shape[1], mask_ratio)
    order = noise.argsort(dim=1)
    ids_restore = order.argsort(dim=1)
    mask = (ids_restore >= keep).to(torch.float32)
    return order[:, :keep], ids_restore, mask


def take(tokens: Tensor, ids: Tensor) -> Tensor:
    """Tokens by index. tokens: (B, L, D); ids: (B, l). Returns (B, l, D)."""
    return tokens.gather(1, ids[:, :, None].expand(-1, -1, tokens.shape[2]))
