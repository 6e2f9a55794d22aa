"""Figures (Matplotlib) and self-contained HTML maps."""
