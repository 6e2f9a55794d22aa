"""OpenVINO without its telemetry and without its converter of models.

``import openvino`` starts a process that reports the import to a statistics service. Umekomi promises that no data leaves the
machine, so this module blocks the package that does it. OpenVINO then uses its own empty stub.

A fifth of the time of the import is for ``openvino.convert_model``, which Umekomi does not use. It is imported when it is called.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys
from typing import Any

_CONVERTER = "openvino.tools.ovc"

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
if "openvino" not in sys.modules:
    sys.modules.setdefault(_CONVERTER, None)  # type: ignore[arg-type]

import openvino as ov
from openvino import Node
from openvino import opset13 as op
from openvino.frontend import FrontEndManager


def _convert_model(*arguments: Any, **options: Any) -> Any:
    """Import and call the function ``openvino.convert_model``."""
    from openvino.tools.ovc import convert_model

    ov.convert_model = convert_model
    return convert_model(*arguments, **options)


if _CONVERTER in sys.modules and sys.modules[_CONVERTER] is None:
    del sys.modules[_CONVERTER]
    ov.convert_model = _convert_model

__all__ = ["FrontEndManager", "Node", "op", "ov"]
