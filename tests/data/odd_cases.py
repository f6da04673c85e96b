"""All unusual inputs; see ``odd_inputs``."""

from tests.data import odd_cine, odd_ecg, odd_masks, odd_names, odd_tables

CASES = [*odd_ecg.CASES, *odd_cine.CASES, *odd_masks.CASES, *odd_tables.CASES, *odd_names.CASES]
