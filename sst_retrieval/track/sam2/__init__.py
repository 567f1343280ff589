"""SAM 2 as a propagator, a small one of our own, and how either is taught a group."""
