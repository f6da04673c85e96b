"""Tables and figures of the study's experiments."""

import pandas as pd

from eccl_lib.io import paths
from tests.conftest import tiny_config
from tools import study_results


def test_finished_experiments_are_copied_and_drawn(tiny_runs, tmp_path):
    config = tiny_config()
    source = paths.figures_dir("demo", "synthetic")
    source.mkdir(parents=True)
    rows = [("ECCL", x, "traits", 0.3, 0.2, 0.4) for x in (100, 1000)]
    means = pd.DataFrame(rows, columns=["series", "x", "task", "mean", "low", "high"])
    means.to_csv(source / "updates_means.csv", index=False)
    means.assign(other="W/ SSL; W/O CL").rename(columns={"mean": "difference"}).to_csv(
        source / "updates_differences.csv", index=False
    )
    assert study_results.copy_experiments(config, tmp_path / "study") == ["updates"]
    assert {path.name for path in (tmp_path / "study").iterdir()} == {
        "updates_means.csv",
        "updates_differences.csv",
        "updates.png",
        "updates.svg",
    }
