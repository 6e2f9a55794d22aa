"""Routes of searches and of the explorer."""
