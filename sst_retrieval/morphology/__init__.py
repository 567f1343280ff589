"""From regions to a data set: outlines, sides, spaces, distances, statistics, trees.

Functions of an index's reader (`search.index.Index` offers them as methods): `selection` (regions, their columns and
vectors), `trait_table`, `scales`, `forms` (outlines, sides, asymmetry), `comparison` (spaces, distances, tests, what to
annotate next). The other modules are pure functions over arrays and tables, and know no index.
"""
