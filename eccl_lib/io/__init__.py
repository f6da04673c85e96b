"""Files, locks, checksums, progress and worker processes, independent of ECGs and hearts."""
