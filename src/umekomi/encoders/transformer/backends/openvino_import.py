"""OpenVINO without its telemetry.

``import openvino`` starts a process that reports the import to a statistics service. Umekomi promises that no data leaves the
machine, so this module blocks the package that does it. OpenVINO then uses its own empty stub.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov
from openvino import Node
from openvino import opset13 as op
from openvino.frontend import FrontEndManager

__all__ = ["FrontEndManager", "Node", "op", "ov"]
