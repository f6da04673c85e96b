"""The comparison of processors reads the committed cells of Table 1."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eccl_lib.io import paths
from tools import instruction_sets, study_archive

PLACE = "eccl", "I42", 4


def test_a_committed_cell_has_its_score_and_predictions():
    score, predicted, made_with = instruction_sets.of_table(*PLACE)
    measured = study_archive.read_scores(paths.STUDY_FIGURES, [PLACE[2]])[PLACE[1]].measured
    assert score == pytest.approx(roc_auc_score(measured[:, 0], predicted[:, 0]), abs=1e-4)
    assert made_with.keys() == {"instruction_set", "cpu", "commit"}


def test_a_line_has_the_difference_from_the_first_setting():
    base = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    made_with = {"instruction_set": "AVX2", "cpu": "a processor", "commit": "0"}
    line = instruction_sets.record("AVX2", PLACE, (0.75, 2 * base + 1, made_with), (0.7, base, {}))
    assert line["difference"] == pytest.approx(0.05) and line["r_of_predictions"] == pytest.approx(1.0)
    assert (line["row"], line["task"], line["seed"], line["cpu"]) == (*PLACE, "a processor")
