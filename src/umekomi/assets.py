"""Files named by their SHA-256."""
from __future__ import annotations
from collections.abc import Callable
from pathlib import Path
from .catalog import Asset
from .settings import Settings

class AssetStore:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
    def path(self, asset: Asset) -> Path:
        """Where the verified file lies; fetched if it is not here yet."""
        raise NotImplementedError
