"""Room 5: an index folder: shards, generations, catalog, vectors, reviews, thumbnails, and its reader."""
