"""Functions called by the notebooks, and their execution without a browser."""
