"""How sure a score is: intervals, comparisons, calibration, retrieval. Arrays in, numbers out."""
