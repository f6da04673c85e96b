"""Files, locks, checksums, progress and worker processes; nothing here knows of ECGs or hearts."""
