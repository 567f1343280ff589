"""From photographs and one label a group to an index: what is to be done, and the doing of it."""
