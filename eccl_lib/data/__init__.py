"""Data: file formats, preprocessing, stores and cohorts."""
