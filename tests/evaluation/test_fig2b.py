"""The paper's claims on Fig. 2b: which encoders are compared, and with which verdict."""

import numpy as np
import pandas as pd
import pytest

from eccl_lib.evaluation import fig2b
from eccl_lib.evaluation.measured_runs import MeasuredRuns

SIZES = {  # panel: tokens, width, depth, mean r
    "patches": [(60, 64, 2, 0.30), (120, 64, 2, 0.38), (240, 64, 2, 0.40)],
    "width": [(120, 32, 2, 0.30), (120, 64, 2, 0.38), (120, 128, 2, 0.38)],
    "depth": [(120, 64, 2, 0.38), (120, 64, 4, 0.36)],
}


@pytest.fixture
def measured():
    generator = np.random.default_rng(0)
    rows = [
        (panel, tokens, width, depth, seed, r + 0.001 * seed)
        for panel, sizes in SIZES.items()
        for tokens, width, depth, r in sizes
        for seed in range(3)
    ]
    frame = pd.DataFrame(rows, columns=[*fig2b.PLACE, "seed", "score"])
    shared = 0.01 * generator.standard_normal(200)  # luck of the draw of participants, the same for all encoders
    own = 0.001 * generator.standard_normal((len(rows), 200))
    return MeasuredRuns(frame, frame["score"].to_numpy()[:, None] + shared + own)


def test_the_largest_encoder_is_compared_and_gets_a_verdict(measured):
    found = fig2b.claims_table(measured).set_index("claim")
    assert found["difference"].to_dict() == pytest.approx(
        {
            "more patches give a higher mean r (240 against 60)": 0.10,
            "a wider ViT gives a higher mean r (128 against 64)": 0.0,
            "a deeper ViT gives a higher mean r (4 against 2)": -0.02,
        }
    )
    assert found["verdict"].tolist() == ["holds", "does not hold", "does not hold"]
    assert (found["p_holm"] >= found["p"]).all() and set(found["seeds"]) == {3}


def test_a_panel_with_one_encoder_has_no_claim(measured):
    patches = measured.rows(((measured.frame["panel"] == "patches") | (measured.frame["width"] == 128)).to_numpy())
    assert len(fig2b.claims_table(patches)) == 1
