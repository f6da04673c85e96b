"""What a card needs is counted on tensors without memory; the parts have closed forms."""

import pytest
import torch

from bench import cards
from bench.cards import saved_bytes
from eccl_lib.config.load import load

PAPER = load("paper")
CLIP = 50 * 224 * 224


def test_what_is_held_at_most_is_counted_without_what_has_gone():
    with cards.Held() as held:
        one = torch.empty(1000, device="meta")
        two = one + 1
        del one
        three = two.view(10, 100).mul(2)[:5]  # a view is nothing more
        del two, three
    assert held.most == 2 * 4000 and held.now == 0


def test_augmenting_a_clip_holds_it_twice_in_float32():
    assert cards.most_held("cmr", PAPER) == pytest.approx(2 * 4 * CLIP, rel=0.03)  # and the grid of its pixels


def test_four_batches_of_clips_are_on_the_card_and_none_where_features_are_read():
    assert cards.read_ahead("cmr", PAPER) == 4 * CLIP
    assert cards.read_ahead("alignment", PAPER) == cards.read_ahead("mae", PAPER) == 0


def test_ecgs_features_and_best_weights_are_there_whatever_the_batch(monkeypatch):
    monkeypatch.setattr(cards, "slope", lambda kept: 0.0)
    weights = {name: sum(p.numel() for p in cards.new(name, PAPER).parameters()) for name in ("cmr", "alignment")}
    ecgs, features = 41_519 * 12 * 5000 * 2, 41_519 * 768 * 4
    assert cards.needs("cmr", False)[0] == 22 * weights["cmr"]
    assert cards.needs("alignment", False)[0] == 22 * weights["alignment"] + ecgs + features


def test_recomputing_needs_one_block_of_equal_ones_again():
    four, five = (load("demo", overrides={"ecg.depth": depth, "ecg.dropout": 0.0}) for depth in (4, 5))

    def kept(config):
        model = cards.new("alignment", config).train()
        return cards.slope(lambda batch: saved_bytes(lambda: model(*cards.inputs("alignment", config, batch))))

    model = cards.new("alignment", four).train()
    block = cards.slope(lambda batch: cards.largest_block(model, "alignment", four, batch))
    assert block == pytest.approx(kept(five) - kept(four), rel=0.1)  # but what lies between two blocks
