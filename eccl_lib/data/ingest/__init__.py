"""Commands that build a store from folders of files, the purge of withdrawn participants, and the report."""
