"""Parameters of every run: schema, presets of each scale, ranges, seeds, errors."""
