"""OpenVINO, without its telemetry.

``import openvino`` reports each import to a statistics service from a process that it forks. Umekomi promises that nothing
leaves the machine, so that the package that does it is kept from loading; OpenVINO then uses its own empty stand-in.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov
from openvino import Node
from openvino import opset13 as op

__all__ = ["Node", "op", "ov"]
