"""Photographs as pixels: reading, colours, masks, frames (turn, scale, mirror), what is specimen."""
