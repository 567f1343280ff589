"""The pages of the app; each is run as a script whenever somebody interacts with it."""
