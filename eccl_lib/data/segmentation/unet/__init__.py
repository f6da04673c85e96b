"""A small network of our own that finds the heart, taught by generated pictures alone: no foreign weights, no data."""
