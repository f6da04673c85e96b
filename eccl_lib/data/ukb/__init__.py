"""UK Biobank's tables, diagnoses, raw files and withdrawals."""
