"""One file a case; see ``bench/__init__.py``. Heavy imports stay inside ``prepare``: the table reads all titles."""
