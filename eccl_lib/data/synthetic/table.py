"""The tabular export: the 82 traits measured on the heart with a reader's error, demographics and diagnoses."""

from __future__ import annotations

from eccl_lib.config import SyntheticConfig


def render_table(config: SyntheticConfig, indices):
    raise NotImplementedError
