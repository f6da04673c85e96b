"""Fig. 2a and 2d of the study, drawn from the models of one seed."""

from dataclasses import replace

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import features, latent_space
from eccl_lib.metrics import embedding
from eccl_lib.pipeline import stages
from tests.conftest import tiny_config
from tests.pipeline.tiny_jobs import quiet
from tools import study_maps


def test_maps_and_silhouettes_are_those_of_the_test_participants(tiny_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "umap", lambda points, seed: points[:, :2])  # umap compiles for half a minute
    config = tiny_config("I48")  # the maps of the shared space are of the traits, whatever the config's task
    data = open_cohort.load(config, quiet)
    for task in ("traits", *DISEASES):
        stages.train(replace(config, disease=task), "eccl", quiet)
    folder = tmp_path / "study"
    found = study_maps.write(config, data, folder)
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}.{kind}" for name in ("fig2a", "fig2d") for kind in ("png", "svg")),
        "modalities.csv",
    }
    np.testing.assert_allclose(pd.read_csv(folder / "modalities.csv")["silhouette"], found["silhouette"], atol=1e-4)
    after = features.after_alignment(replace(config, disease="traits"), data, data.index("test"))
    assert found["alignment"].tolist() == ["before", "after"] and found["seed"].eq(0).all()
    assert np.isclose(found["silhouette"].iloc[1], latent_space.modality_silhouette(after))
    assert (found["low"] < found["silhouette"]).all() and (found["silhouette"] < found["high"]).all()
