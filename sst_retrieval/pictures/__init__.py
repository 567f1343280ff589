"""Pictures for people: overlays, lettering, contact sheets."""
