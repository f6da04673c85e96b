"""The synthetic traits fulfil all identities, and a swapped column violates one."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.config.load import load
from eccl_lib.data import synthetic
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb import tables, trait_checks

COLUMN = {trait.field_id: k for k, trait in enumerate(TRAITS)}


@pytest.fixture(scope="module")
def traits(tmp_path_factory) -> np.ndarray:
    config = load("demo").synthetic
    path = tmp_path_factory.mktemp("table") / "t.csv"
    synthetic.render_table(config, range(40)).to_csv(path, index=False)
    return tables.traits(tables.read_table(path))


def differing(traits: np.ndarray) -> dict[str, int]:
    checked = trait_checks.check(traits)
    return {row.identity: row.differing for row in checked.itertuples() if row.differing}


def test_the_embedded_cohort_fulfils_every_identity(traits):
    assert (trait_checks.check(traits)["checked"] == 40).all()
    assert not differing(traits)


@pytest.mark.parametrize(
    ("field", "change", "broken"),
    [
        (24102, lambda x: x + 5, "LV: stroke"),
        (24103, lambda x: x / 100, "LV: ejection"),  # a fraction instead of percent
        (24104, lambda x: 1000 * x, "LV: cardiac output"),  # mL instead of L
        (24109, lambda x: x + 2, "RV: ejection"),
        (24113, lambda x: -x, "LA: ejection"),
        (24119, lambda x: 10 * x, "ascending aorta"),
        (24140, lambda x: x / 10, "wall thickness"),  # cm instead of mm
        (24157, lambda x: -x, "circumferential strain"),
        (24181, lambda x: -x, "longitudinal strain"),
    ],
)
def test_a_wrong_column_violates_its_identity_for_all_participants(traits, field, change, broken):
    wrong = traits.copy()
    wrong[:, COLUMN[field]] = change(wrong[:, COLUMN[field]])
    assert any(name.startswith(broken) and count == 40 for name, count in differing(wrong).items())


def test_missing_traits_are_not_checked_and_violate_nothing(traits):
    some = traits.copy()
    some[:10, COLUMN[24100]] = np.nan
    some[:, COLUMN[24118]] = np.nan
    checked = trait_checks.check(some).set_index("identity")["checked"]
    assert checked["LV: stroke volume = largest - smallest volume"] == 30
    assert checked["ascending aorta: largest area >= smallest area"] == 0
    assert not differing(some)
    assert len(trait_checks.check(np.empty((0, 82)))) == len(checked)
