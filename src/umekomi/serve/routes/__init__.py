"""Routes for searching stores, and those of the explorer."""
