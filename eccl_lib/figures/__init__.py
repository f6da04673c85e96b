"""All figure functions: arrays and data frames in, matplotlib Figure out. They read and write no files.

| module | figures |
|---|---|
| person | one participant: ECG, baseline, cine, crop, predicted traits and disease scores |
| hearts | heart location by each provider |
| examples | single ECGs: reconstruction, attention, retrieval |
| explorer | interactive notebooks: cine with contours, traits and place of a participant, augmentations, linked maps |
| experiments | learning curves, options of stage two, encoders on own labels |
| training | training curves of one run, and of all stages |
| latent | shared embedding space: similarity, Fig. 2a, Fig. 2d |
| scores | ROC, calibration, differences between rows of Table 1 |
| traits | Fig. 2b, Fig. 2c, all 82 traits |
| compose, style, colours | several figures in one picture; shared style |
"""

# ruff: noqa: F401 (these names are imported from this package)
from eccl_lib.figures.colours import CHAMBER_NAMES
from eccl_lib.figures.examples import attention_maps, attribution_maps, mae_reconstructions, retrieval_examples
from eccl_lib.figures.experiments import alignment_gains, learning_curves, option_differences, probe_curves
from eccl_lib.figures.explorer import augmentation_gallery, cine_ends, linked_maps, place_in_space, trait_positions
from eccl_lib.figures.hearts import heart_overlays, similar_hearts
from eccl_lib.figures.latent import fig2a_latent, fig2d_umap, similarity_matrix, umap_diseases
from eccl_lib.figures.person import baseline, cine_frames, crop_overlay, ecg_paper, risk_panel, trait_panel
from eccl_lib.figures.scores import differences_forest, reliability_curves, roc_curves, roc_panels
from eccl_lib.figures.training import StageCurves, training_curves, training_stages
from eccl_lib.figures.traits import fig2b_patches_and_size, fig2c_traits, traits_by_chamber
