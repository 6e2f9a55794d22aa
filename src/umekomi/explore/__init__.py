"""The explorer: a data set in memory, its map, and its views. ``web`` contains the built page."""
