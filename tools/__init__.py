"""Programs for maintainers, not installed with the library."""
