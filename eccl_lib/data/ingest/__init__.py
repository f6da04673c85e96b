"""From folders of files to a store: UK Biobank, other ECG and cine archives, withdrawals, the report."""
