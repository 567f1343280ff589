"""Photographs from where they are: a table with web addresses becomes files, politely, and what failed is listed."""
