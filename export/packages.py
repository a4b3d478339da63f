"""Optional packages: what is missing is named, with the command that installs it."""

from __future__ import annotations

from importlib.util import find_spec

from vinr_engine.errors import UsageError

# module -> what pip installs
PACKAGES = {
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
}


def require(*modules: str) -> None:
    """UsageError, naming what to install, unless every module can be imported."""
    missing = [PACKAGES.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}")
