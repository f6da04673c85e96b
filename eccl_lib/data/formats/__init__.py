"""One module a file format: from bytes on disk to an ECG or a cine."""
