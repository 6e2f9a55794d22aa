"""Commands that analyze embedded files."""
