"""Scores and their uncertainty: intervals, comparisons, calibration, retrieval. Arrays in, numbers out."""
