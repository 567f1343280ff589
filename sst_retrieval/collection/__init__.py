"""Room 1: read a specimen table or a Darwin Core Archive into specimens and their photographs."""
