"""The configuration of a transformer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """The shape of a BERT-like encoder."""

    family: str
    hidden: int
    layers: int
    heads: int
    eps: float
    activation: str = "gelu"
    #: Position id of the first token of a text.
    first_position: int = 0
    #: Maximum number of tokens in a text; 0 if unknown.
    positions: int = 0
