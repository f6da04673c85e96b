"""Numbers, tables and arrays computed from finished runs."""
