"""Customization of a model's vectors for one task, from pairs of texts."""

from .pairs import Goal, Pairs, make_pairs, read_pairs
from .report import Comparison, Customization, customize

__all__ = ["Comparison", "Customization", "Goal", "Pairs", "customize", "make_pairs", "read_pairs"]
