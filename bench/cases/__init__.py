"""One file per case; see ``bench/__init__.py``. Heavy imports stay inside ``prepare``: the table imports all cases."""
