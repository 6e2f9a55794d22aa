"""LanceDB without the client of its hosted service.

``import lancedb`` imports the package ``lance_namespace_urllib3_client`` for a few data classes. The package itself imports the
operations of a REST service, which takes more than a third of the CPU time of the whole import (docs/lab/vector-search.md).
While this module imports LanceDB, that package is empty except for its modules. A later import of the package runs it as usual.
"""

# ruff: noqa: E402
from __future__ import annotations

import importlib.util
import sys

_CLIENT = "lance_namespace_urllib3_client"
_spec = importlib.util.find_spec(_CLIENT) if _CLIENT not in sys.modules else None
if _spec is not None:
    sys.modules[_CLIENT] = importlib.util.module_from_spec(_spec)

import lancedb
from lancedb.index import Bitmap, BTree, HnswFlat, HnswSq, IvfRq

if _spec is not None:
    del sys.modules[_CLIENT]

__all__ = ["BTree", "Bitmap", "HnswFlat", "HnswSq", "IvfRq", "lancedb"]
