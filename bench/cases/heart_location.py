"""One cine without a mask: the heart is located by the network and cropped; reference: every image is segmented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.harness import Case, Pair, at_least, at_most


def prepare(folder: Path) -> Pair:
    """Both return the box of the heart and the clip of 224 x 224 x 50 uint8, from a stack of UK Biobank's size."""
    import numpy as np

    from eccl_lib.config.load import load
    from eccl_lib.data import cmr, synthetic
    from eccl_lib.data.segmentation import providers
    from eccl_lib.data.segmentation.unet.network import HeartNet

    config = load("paper")
    record = replace(synthetic.render_cine(config.synthetic, 4), labels=None)
    assert record.images.shape == (10, 50, 208, 187)
    network = HeartNet.load(providers.network_weights())

    def boxed(found):
        return cmr.heart_box(found.labels[0]), cmr.crop(found, config.store)

    def reference():
        labels = network.segment(record.images, record.spacing_mm)
        return boxed(providers.locate(replace(record, labels=labels), segmenter=providers.Segmenter("masks")))

    def same(ours, theirs):
        assert ours[1].shape == theirs[1].shape == (224, 224, 50) and ours[1].dtype == np.uint8
        assert cmr.intersection_over_union(ours[0], theirs[0]) > 0.8

    return Pair(lambda: boxed(providers.locate(record)), reference, same)


CASE = Case(
    "heart located without a mask and cropped, stack of 10 x 50 images",
    "the same network segments every image of the stack",
    prepare,
    (at_least("ratio", 1), at_most("seconds", 5)),
    memory=True,
    place=3,
)
