"""The embedded cohort: one heart per participant, seen twice, by an ECG and by a cine MRI."""
