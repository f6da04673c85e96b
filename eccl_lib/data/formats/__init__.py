"""Readers of ECG and cine file formats, one module per format."""
