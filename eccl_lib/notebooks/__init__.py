"""What the notebooks call: checked parameters, figures, progress; and running them headless."""
