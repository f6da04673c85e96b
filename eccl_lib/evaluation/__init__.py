"""From finished runs to the numbers, tables and arrays that notebooks show."""
