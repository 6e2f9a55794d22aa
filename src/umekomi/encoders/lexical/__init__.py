"""The lexical encoder: hashed words and character n-grams."""
