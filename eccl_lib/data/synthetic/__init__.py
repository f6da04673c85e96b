"""Generator of the synthetic cohort: one heart model per participant, observed by an ECG and by a cine MRI."""

from eccl_lib.data.synthetic.cine import render_cine
from eccl_lib.data.synthetic.ecg import render_ecg
from eccl_lib.data.synthetic.population import FIRST_EID, GENERATOR, draw
from eccl_lib.data.synthetic.table import render_table
from eccl_lib.data.synthetic.ukb_tree import write_participant, write_table

__all__ = ["FIRST_EID", "GENERATOR", "draw", "render_cine", "render_ecg", "render_table"]
__all__ += ["write_participant", "write_table"]
