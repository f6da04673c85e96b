"""One update of the masked autoencoder at the paper's size: the encoder processes 120 of 600 tokens, or all of them.

On a CPU the batch has three ECGs. The update of the 112 million weights is the same in both functions and has a larger
share of the time than in a batch of 128. On a GPU the batch is as large as the reference allows in 24 GB.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.harness import Case, Pair, at_least, compare

BATCH, CLOSE, ROUNDS = {"cpu": 3, "cuda": 32}, 1e-4, 3
TINY_LR = 1e-9  # both functions share one model, whose weights must not change


def prepare(folder: Path, device: str = "cpu") -> dict[str, object]:
    """The reference is the same model, but masked tokens are replaced before the encoder instead of after it."""
    import torch

    from bench import pretend
    from eccl_lib.config.load import load
    from eccl_lib.config.schema import RuntimeConfig
    from eccl_lib.io.progress import silent
    from eccl_lib.models.ecg_vit import patchify
    from eccl_lib.models.mae import random_mask
    from eccl_lib.pipeline.jobs import masked_autoencoder_job
    from eccl_lib.pipeline.steps import MaskedAutoencoderStep
    from eccl_lib.training.datasets import EcgDataset
    from eccl_lib.training.loop import Loop

    config = load("paper", overrides={"mae.lr": TINY_LR, "runtime.device": device})
    batch = BATCH[device]
    data = pretend.cohort(2 * batch, config)
    job, rows = masked_autoencoder_job(config, data), data.index("train")[:batch]
    model, signals = job.model, EcgDataset(data, config)

    def fed_all(x, noise):
        _, _, mask = random_mask(noise, config.mae.mask_ratio)
        tokens = model.encoder.tokens(x) * (1 - mask[:, :, None])  # removes the content of the masked tokens
        encoded = model.encoder.encode(tokens + mask[:, :, None] * model.encoder.pos_embed[:, 1:])
        order = torch.arange(noise.shape[1], device=x.device).expand(len(x), -1)
        return model.decode(encoded, order), patchify(x, config.ecg), mask

    class Naive(MaskedAutoencoderStep):
        """The encoder processes all tokens."""

        def encode(self, batch):
            return fed_all(self.ecgs.augmented(batch), batch.draw(-1, self.tokens))

    naive = replace(job, step=Naive(model, signals, 600))
    loops = [Loop(side, 0, folder, "", RuntimeConfig(), silent) for side in (job, naive)]
    model.train()

    def same(*nothing):
        x, noise = signals.of(rows), torch.rand(batch, 600, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            predicted, _, mask = model(x, noise.to(x.device))
            literal = by_hand(model, x, mask)
        torch.testing.assert_close(predicted, literal, rtol=CLOSE, atol=CLOSE)

    ours, reference = (lambda loop=loop: loop.run_step(rows, 40.0) for loop in loops)
    return compare(Pair(ours, reference, same, per=batch, device=device), ROUNDS)


def by_hand(model, x, mask):
    """He et al. (2022), one ECG at a time: encode the visible tokens, then insert mask tokens at the other places."""
    import torch

    found = []
    for one, hidden in zip(x, mask.bool(), strict=True):
        tokens = model.encoder.tokens(one[None])[:, ~hidden]
        encoded = model.to_decoder(model.encoder.encode(tokens))
        full = model.mask_token.expand(1, len(hidden) + 1, -1).clone()
        full[:, 0] = encoded[:, 0]
        full[:, 1:][:, ~hidden] = encoded[:, 1:]
        full = full + model.decoder_pos
        found.append(model.to_samples(model.decoder_norm(model.decoder(full)))[:, 1:])
    return torch.cat(found)


CASE = Case(
    "one MAE step per ECG, ViT-B, 600 tokens",
    "same model, but the encoder processes all 600 tokens",
    prepare,
    (at_least("ratio", 2.3),),
    minutes=10,
    place=7,
    on_gpu=(at_least("ratio", 2.3),),
)
