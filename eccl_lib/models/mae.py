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
        self.grid = grid(ecg, samples)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, mae.decoder_width))
        self.register_buffer("decoder_pos", positions(mae.decoder_width, self.grid), persistent=False)
        blocks = (Block(mae.decoder_width, mae.decoder_heads, qkv_bias=True) for _ in range(mae.decoder_depth))
        self.decoder = nn.Sequential(*blocks)  # with biases of query, key and value, as He et al.
        self.decoder_norm = nn.LayerNorm(mae.decoder_width)
        self.to_samples = nn.Linear(mae.decoder_width, ecg.patch_leads * ecg.patch_samples)
        for part in (self.to_decoder, self.decoder, self.to_samples):
            part.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, ecg: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mask and reconstruct ECGs. ecg: (B, 12, T); noise: (B, L): the tokens with the least noise stay visible.

        Returns predicted and true patches, each (B, L, P), and the mask (B, L): 0 is visible, 1 is masked.
        """
        if self.mae_config.masking == "space_time":
            noise = by_lead_and_time(noise, self.grid)
        ids_keep, ids_restore, mask = random_mask(noise, self.mae_config.mask_ratio)
        visible = take(self.encoder.tokens(ecg), ids_keep)  # (B, L_v, D)
        predicted = self.decode(self.encoder.encode(visible), ids_restore)
        return predicted, patchify(ecg, self.ecg_config), mask

    def loss(self, predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Masked-patch error (Sec. 2.1), or the authors' variant. predicted, target: (B, L, P); mask: (B, L)."""
        if self.mae_config.normalise_target:
            mean, sd = patch_scale(target)
            target = (target - mean) / sd
        everywhere, weight = self.mae_config.loss_on == "all", self.mae_config.correlation_weight
        error = losses.patch_mse(predicted, target) if everywhere else losses.masked_patch_mse(predicted, target, mask)
        return error if not weight else (1 - weight) * error + weight * losses.patch_decorrelation(predicted, target)

    def reconstruct(self, ecg: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``forward``, in the units of the ECG; with a normalised target, each true patch gives its mean and SD."""
        predicted, target, mask = self(ecg, noise)
        if self.mae_config.normalise_target:
            mean, sd = patch_scale(target)
            predicted = predicted * sd + mean
        return predicted, target, mask

    def masked_squares(self, ecg: Tensor, noise: Tensor) -> Tensor:
        """Sums of squares over each ECG's masked patches: of the error, and about the ECG's own lead means.

        ecg: (B, 12, T); noise: (B, L). Returns (B, 2).
        """
        predicted, target, mask = self.reconstruct(ecg, noise)
        level = patchify(ecg.mean(dim=-1, keepdim=True).expand_as(ecg), self.ecg_config)
        squares = torch.stack([(target - predicted).square(), (target - level).square()], dim=1)  # (B, 2, L, P)
        return (squares.sum(dim=-1) * mask[:, None]).sum(dim=-1)

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


def by_lead_and_time(noise: Tensor, shape: tuple[int, int]) -> Tensor:
    """Noise whose least values lie in few rows (leads) and few columns (times) of the grid of tokens.

    noise: (B, L), uniform; shape: rows and columns. The noise of a token is the larger one of its row and its column.
    """
    table = noise.unflatten(1, shape)
    rows, columns = table[:, :, :1], table.roll(1, dims=2)[:, :1]
    return (torch.maximum(rows, columns) + 1e-6 * table).flatten(1)


def patch_scale(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch (He et al. 2022). patches: (B, L, P). Returns (B, L, 1) each."""
    return patches.mean(dim=-1, keepdim=True), (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def take(tokens: Tensor, ids: Tensor) -> Tensor:
    """Tokens by index. tokens: (B, L, D); ids: (B, l). Returns (B, l, D)."""
    return tokens.gather(1, ids[:, :, None].expand(-1, -1, tokens.shape[2]))
