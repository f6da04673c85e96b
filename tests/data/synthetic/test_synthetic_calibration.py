"""The generated traits have the means and spreads of traits.csv, and each value there names its source."""

import csv
from importlib.resources import files

import pytest

from eccl_lib.config.load import load
from eccl_lib.data.synthetic import draw
from eccl_lib.data.synthetic.measure import measured_traits
from eccl_lib.data.traits import TRAITS

PARTICIPANTS = 4_000
MEAN_GLOBAL, MEAN_SEGMENT = 0.25, 0.5  # largest difference of the means, in SDs of the table
NARROW, WIDE = 0.75, 1.35  # smallest and largest ratio of the SDs


def _table() -> dict[str, dict[str, str]]:
    with (files("eccl_lib.data") / "traits.csv").open(encoding="utf-8", newline="") as handle:
        return {row["short_name"]: row for row in csv.DictReader(handle)}


TABLE = _table()


def _is_segment(name: str) -> bool:
    return name.rsplit("_", 1)[-1].isdigit()


@pytest.fixture(scope="module")
def generated() -> dict[str, tuple[float, float]]:
    """Mean and SD of each trait in a cohort with the paper's prevalences."""
    config = load("paper").synthetic
    traits = measured_traits(config, draw(config, range(PARTICIPANTS)))
    return {t.short_name: (traits[:, k].mean(), traits[:, k].std()) for k, t in enumerate(TRAITS)}


@pytest.mark.parametrize("name", TABLE)
def test_a_generated_trait_has_the_mean_and_the_spread_of_the_table(generated, name):
    mean, spread = float(TABLE[name]["mean"]), float(TABLE[name]["sd"])
    found_mean, found_spread = generated[name]
    assert abs(found_mean - mean) <= (MEAN_SEGMENT if _is_segment(name) else MEAN_GLOBAL) * spread
    assert NARROW <= found_spread / spread <= WIDE


def test_54_traits_are_of_segments_and_28_are_global():
    assert sum(_is_segment(name) for name in TABLE) == 3 * 16 + 6
    assert len(TABLE) == 82


@pytest.mark.parametrize("group", ["WT", "Ecc", "Err", "Ell"])
def test_the_mean_of_a_groups_segments_in_the_table_is_its_global_mean(group):
    parts = [float(row["mean"]) for name, row in TABLE.items() if row["group"] == group and _is_segment(name)]
    assert sum(parts) / len(parts) == pytest.approx(float(TABLE[f"{group}_global"]["mean"]), rel=0.005)


@pytest.mark.parametrize("name", TABLE)
def test_each_value_of_the_table_names_its_source(name):
    source = TABLE[name]["source"]
    assert source and "memory" not in source
