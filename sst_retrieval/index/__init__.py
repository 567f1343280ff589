"""An index folder: shards, generations, catalog, vectors, reviews and thumbnails, its writer and its reader."""
