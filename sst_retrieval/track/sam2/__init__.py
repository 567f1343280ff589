"""SAM 2 as a propagator, the small SAM 2 that comes with the program, clicks to masks, and fine-tuning on a group."""
