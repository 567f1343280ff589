"""Room 7: from regions to a data set: outlines, sides, spaces, distances, statistics, trees.

Pure functions over arrays and tables; `search.index.Index` hands them what the catalog and the vector files hold.
"""
