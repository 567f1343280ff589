"""Room 1: from a specimen table or an archive to specimens and their photographs."""
