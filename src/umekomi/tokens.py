"""Tokens."""
from __future__ import annotations
from collections.abc import Sequence
from .assets import AssetStore
from .catalog import Catalog

class Tokenizer:
    name = "bytes"
    def count(self, text: str) -> int:
        return len(text.encode())
    def encode(self, text: str) -> list[int]:
        return list(text.encode())
    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")

def load_tokenizer(name: str, *, assets: AssetStore, catalog: Catalog) -> Tokenizer:
    return Tokenizer()
