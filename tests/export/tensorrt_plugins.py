"""What tests of the TensorRT plugins share: fields that are right and wrong, and how a plugin is made and run."""

import importlib.util
import itertools
import pathlib

import numpy as np
import pytest

from simt import build

FLOAT, HALF, INT64 = 0, 1, 8  # of nvinfer1::DataType
LINEAR, CHW32, HWC, HWC8 = 0, 5, 8, 2  # of nvinfer1::TensorFormat
DTYPES = {FLOAT: np.float32, HALF: np.float16}

DEFORM = dict(stride=[1, 1], padding=[1, 1], dilation=[1, 1], group=[1], deformable_group=[2])
QUERY = dict(feat_widths=[3, 16, 12], flow_widths=[19, 16, 4], encode_widths=[37, 32, 16, 3], omega=30.0)
PARAMETERS = sum((a + 1) * b for w in list(QUERY.values())[:3] for a, b in itertools.pairwise(w))
# A plugin, fields of it that are wrong, and what is said of them.
BAD = [
    ("DeformConv2d", {"stride": [0, 1]}, "stride must be two numbers (y, x) from 1 up"),
    ("DeformConv2d", {"padding": [1]}, "padding must be two numbers (y, x) from 0 up"),
    ("DeformConv2d", {"dilation": [1, -1]}, "dilation must be two numbers"),
    ("DeformConv2d", {"group": [0]}, "group must be one number from 1 up"),
    ("DeformConv2d", {"deformable_group": [2, 2]}, "deformable_group must be one number"),
    ("DeformConv2d", {"stride": 1.0}, "stride must be int32 numbers"),
    ("DeformConv2d", {"stride": b"11"}, "stride must be int32 numbers"),
    ("DeformConv2d", {"stride": None}, "stride must be int32 numbers"),
    ("DeformConv2d", {"strides": [1, 1]}, "fields that it does not have were given"),
    ("InrQuery", {"feat_widths": [4, 16, 12]}, "feat_widths must start with 3, got 4"),
    ("InrQuery", {"feat_widths": [3, 12]}, "feat_widths must be the widths of an input and of 2 to 8 layers"),
    ("InrQuery", {"feat_widths": [3, 0, 12]}, "feat_widths must be the widths"),
    ("InrQuery", {"flow_widths": [18, 16, 4]}, "flow_widths must start with 19, got 18"),
    ("InrQuery", {"flow_widths": [19, 16, 5]}, "flow_widths must end in 4, got 5"),
    ("InrQuery", {"encode_widths": [25, 16, 3]}, "encode_widths must start with 37, got 25"),
    ("InrQuery", {"encode_widths": [37] + 9 * [3]}, "encode_widths must be the widths"),
    ("InrQuery", {"omega": [30]}, "omega must be one float32 number"),
    ("InrQuery", {"omega": float("nan")}, "omega must be positive"),
]  # fmt: skip


def headers():
    """TensorRT's C++ headers, of the package that brings them."""
    found = importlib.util.find_spec("kernel_lens")
    folder = pathlib.Path(found.origin).parent / "include/tensorrt" if found else pathlib.Path()
    return folder if (folder / "NvInfer.h").exists() else pytest.skip("no TensorRT headers: pip install kernel-lens")


def load_harness():
    """The plugins on the host, see tests/export/plugin_harness.cpp."""
    folder = pathlib.Path(__file__).parent
    return build.load("plugin_harness", folder, (headers(), folder / "cuda_stub"))


def create(harness, name, fields):
    return harness.create(name, list(fields.items()))


def stored(array, layout):
    """[B, C, H, W] as it lies in memory."""
    if layout == LINEAR:
        return np.ascontiguousarray(array)
    pixels = array.transpose(0, 2, 3, 1)
    padding = -pixels.shape[-1] % 8 if layout == HWC8 else 0
    return np.ascontiguousarray(np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, padding)), constant_values=np.nan))


def bits(array):
    return array.view(np.uint16) if array.dtype == np.float16 else array


def enqueue(plugin, inputs, outputs, memory):
    """Runs the plugin as TensorRT would; `outputs` are descriptions. Returns their memory, and the report."""
    made = [np.full(m, np.nan, DTYPES[t]) for (t, *_), m in zip(outputs, memory[1], strict=True)]
    plugin = plugin.attached()
    plugin.on_shape_change(inputs, outputs)
    report = plugin.enqueue(
        inputs, outputs, [bits(a) for a in memory[0]], [bits(a) for a in made], plugin.workspace_bytes(inputs, outputs)
    )
    assert report["uninitialised_reads"] == 0
    return made, report
