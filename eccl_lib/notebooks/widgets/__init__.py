"""Interactive views of the notebooks, each with a static picture of its first state.

| module | view |
|---|---|
| show | display a view where a browser shows it, and store its picture |
| player | a cine that plays in the browser, with contours, scale, ED and ES |
| cohort_view | one participant of a filtered cohort (00) |
| gallery_view | the augmentations of one participant (00) |
| heart_view | ECG and cine of one changed generated heart (00) |
| latent_view | maps before and after alignment, linked (07) |

The packages of the widgets are imported only where a browser shows them.
"""
