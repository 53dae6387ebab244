"""Libraries that report their use to their makers, kept from it.

ONNX Runtime writes a device identifier to the user's cache folder when it is imported, and ten
seconds later looks up where to send events. OpenVINO's Python package writes a client identifier
to the home folder and posts an event, at its import too. In both it is decided at the import, so
`switch_off` must come before: the package's own `__init__` calls it.
"""

import os
import sys

ONNX_RUNTIME = "ORT_DISABLE_TELEMETRY"
"""What ONNX Runtime reads in the environment when it is imported; started processes inherit it."""

OPENVINO = "openvino_telemetry"
"""The module that OpenVINO reports with; where it cannot be imported, a stub takes its place."""


def switch_off() -> None:
    """Keep ONNX Runtime and OpenVINO from reporting, in this process and those that it starts.

    What was imported before, as by a program that imports this package late, reports as it did.
    """
    os.environ[ONNX_RUNTIME] = "1"
    # None is how an import is made to fail; a program that imported it itself keeps it.
    sys.modules.setdefault(OPENVINO, None)  # type: ignore[arg-type]
