"""Checks of a checkout and of results: privacy, leakage, integrity."""
