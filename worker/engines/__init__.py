"""The engines. OpenVINO's converter would report its use to Google Analytics; without this package it has a stub.

None is how Python is told that a module cannot be imported.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
