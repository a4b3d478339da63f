"""What the TensorRT plugins compute, run on the host by tests/simt: stored outputs, and nodes of exported graphs."""

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import EXPORT, EXPORT_FLOAT16_PSNR, GOLDEN, GOLDEN_QUERY, OP, relative_error
from ops.deform_conv2d.samples import Sample
from simt.test_inr_query import arrays, golden
from tensorrt_plugins import DTYPES, FLOAT, HALF, HWC, HWC8, LINEAR, create, enqueue, load_harness, stored
from vinr_engine import reference
from vinr_engine.export import to_onnx
from vinr_engine.export.onnx import model as onnx_model
from vinr_engine.export.onnx.graphs import Encoder
from vinr_engine.export.options import Options
from vinr_engine.models.videoinr.encoder import pad_to_multiple
from vinr_engine.ops.hoisting import hoist


@pytest.fixture(scope="module")
def harness():
    return load_harness()


def deform(harness, dtype, layout, tensors, geometry):
    """Output and report of the plugin for the packed arguments of the op: input, offset_mask, weight, bias or None."""
    inputs = [t.numpy().astype(DTYPES[dtype]) for t in tensors if t is not None]
    input, offset_mask, weight = inputs[:3]
    taps = weight.shape[2] * weight.shape[3]
    fields = dict(zip(("stride", "padding", "dilation"), map(list, geometry), strict=True))
    fields |= dict(group=[input.shape[1] // weight.shape[1]], deformable_group=[offset_mask.shape[1] // (3 * taps)])
    layouts = [layout, layout, LINEAR, LINEAR][: len(inputs)]
    memory = [stored(a, f) if a.ndim == 4 else a for a, f in zip(inputs, layouts, strict=True)]
    shape = [input.shape[0], weight.shape[0], *offset_mask.shape[2:]]
    empty = stored(np.empty(shape, DTYPES[dtype]), layout).shape
    (out,), report = enqueue(
        create(harness, "DeformConv2d", fields),
        [(dtype, f, list(a.shape)) for a, f in zip(inputs, layouts, strict=True)],
        [(dtype, layout, shape)],
        (memory, [empty]),
    )
    out = torch.from_numpy(out)
    return out if layout == LINEAR else out.permute(0, 3, 1, 2), report


@pytest.mark.parametrize("layout", [LINEAR, HWC], ids=["linear", "channels-last"])
@pytest.mark.parametrize(
    "name", ["plain3x3", "stride2", "dilated", "one_by_one", pytest.param("vinr64", marks=pytest.mark.slow)]
)
def test_golden_deform_conv2d(harness, name, layout):
    """With groups, without bias; masks as logits beside the offsets."""
    case = {k.split("/")[1]: v for k, v in golden_cases.load("deform_conv2d").items() if k.startswith(name + "/")}
    case = {k: torch.from_numpy(v) for k, v in case.items()}
    offset_mask = torch.cat([case["offset"], case["mask"].logit()], 1)
    tensors = case["input"], offset_mask, case["weight"], case.get("bias")
    out, report = deform(harness, FLOAT, layout, tensors, case["stride_padding_dilation"].tolist())
    assert (out - case["out"]).abs().max() <= GOLDEN[torch.float32]
    assert report["launches"] == (3 if layout == LINEAR else 2)


@pytest.mark.parametrize("layout", [LINEAR, HWC8], ids=["linear", "channels-last"])
def test_float16_deform_conv2d(harness, layout):
    """56 channels of offset_mask in memory for its 54; two tiles of each copy that brings channels together."""
    sample = Sample("wide", batch=2, channels=40, size=(5, 9), out_channels=72, offset_groups=2)
    tensors = [t.half() for t in sample.packed()]
    out, _ = deform(harness, HALF, layout, tensors, sample.geometry)
    input, offset_mask, weight, bias = (t.double() for t in tensors)
    offset, logits = offset_mask.split((36, 18), 1)
    expected = reference.deform_conv2d(input, offset, weight, bias, *sample.geometry, mask=logits.sigmoid())
    assert relative_error(out, expected) <= OP[torch.float16]


def query_call(maps, colours, times, layers, lr_size, size, dtype, omega=30.0):
    """Fields, descriptions of inputs and outputs, and the inputs' memory."""
    names = ("feat_widths", "flow_widths", "encode_widths")
    fields = {n: [a[0].shape[1], *(w.shape[0] for w in a[::2])] for n, a in zip(names, layers, strict=True)}
    weights = np.concatenate([a.ravel() for network in layers for a in network])
    lengths = [np.zeros(n, np.float32) for n in (*lr_size, *size)]
    wide = [a.astype(DTYPES[dtype]) for a in (maps, weights, *([] if colours is None else [colours]))]
    memory = [wide[0], times, wide[1], *lengths, *wide[2:]]
    types = [dtype if i in (0, 2, 7) else FLOAT for i in range(len(memory))]
    inputs = [(t, LINEAR, list(a.shape)) for t, a in zip(types, memory, strict=True)]
    channels = fields["encode_widths"][-1], fields["flow_widths"][-1]
    outputs = [(FLOAT, LINEAR, [1, len(times), c, *size]) for c in channels]
    return fields | {"omega": omega}, inputs, outputs, memory


def golden_query(case_name, dtype):
    (features, frames, times, lr_size, size, *networks, u), case = golden(case_name)
    (maps, colours), layers = hoist(features, frames, *networks, u)
    wide = arrays([maps])[0], None if colours is None else arrays([colours])[0]
    call = query_call(*wide, arrays([times[:, 0]])[0], list(map(arrays, layers)), lr_size, size, dtype)
    return call, case


QUICK = {("anisotropic_test", FLOAT), ("downscale1_train", HALF)}


@pytest.mark.parametrize(
    ("case_name", "dtype"),
    [
        pytest.param(case, dtype, marks=() if (case, dtype) in QUICK else pytest.mark.slow)
        for case in ("anisotropic_test", "downscale1_train", "scale4_test")
        for dtype in DTYPES
    ],
)
def test_golden_inr_query(harness, case_name, dtype):
    """Of the published network, with colours and without, several times; in float16 maps and weights are float16."""
    (fields, inputs, outputs, memory), case = golden_query(case_name, dtype)
    (image, flow), _ = enqueue(
        create(harness, "InrQuery", fields), inputs, outputs, (memory, [shape for *_, shape in outputs])
    )
    tolerance = GOLDEN_QUERY["float32" if dtype == FLOAT else "float16"]
    assert (torch.from_numpy(image) - case["out"]).abs().max() <= tolerance
    if "flow0" in case:
        assert (torch.from_numpy(flow)[:, 0] - case["flow0"]).abs().max() <= tolerance * case["flow0"].abs().max()


def evaluator(harness, path):
    """ONNX's reference evaluator, with the project's nodes carried out by the plugins."""

    class Node(OpRun):
        op_domain = "vinr"

        def call(self, inputs, dtype, shapes):
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in self.onnx_node.attribute}
            assert (attributes.pop("plugin_version"), attributes.pop("plugin_namespace")) == (b"1", b"vinr")
            fields = {k: [v] if isinstance(v, int) else v for k, v in attributes.items()}
            plugin = create(harness, type(self).__name__, fields)
            types = {np.dtype(v): k for k, v in DTYPES.items()}
            descriptions = [(types[a.dtype], LINEAR, list(a.shape)) for a in inputs]
            outputs = [(dtype, LINEAR, shape) for shape in shapes]
            memory = [np.ascontiguousarray(a) for a in inputs]
            return tuple(enqueue(plugin, descriptions, outputs, (memory, shapes))[0])

    class DeformConv2d(Node):
        def _run(self, input, offset_mask, weight, *bias, **attributes):
            shape = [input.shape[0], weight.shape[0], *offset_mask.shape[2:]]
            dtype = HALF if input.dtype == np.float16 else FLOAT
            return self.call([input, offset_mask, weight, *bias], dtype, [shape])

    class InrQuery(Node):
        def _run(self, maps, times, weights, lr_rows, lr_columns, rows, columns, *colours, **attributes):
            shapes = [[1, len(times), channels, len(rows), len(columns)] for channels in (3, 4)]
            return self.call([maps, times, weights, lr_rows, lr_columns, rows, columns, *colours], FLOAT, shapes)

    return ReferenceEvaluator(str(path), new_ops=[DeformConv2d, InrQuery])


@pytest.mark.slow
@pytest.mark.parametrize(("upsample", "dtype"), [(4, "float32"), (1, "float32"), (4, "float16")])
def test_an_exported_query(harness, tmp_path, rng, upsample, dtype):
    """The graph of the plugin profile, at a size that it was not traced with: attributes, weights, inputs' order."""
    torch.manual_seed(0)
    model = vinr.VideoINR(
        nf=8, groups=2, front_blocks=1, back_blocks=1, hr_features=12, feat_hidden=(16,), flow_hidden=(16, 24),
        encode_hidden=(16, 32),
    ).eval().requires_grad_(False)  # fmt: skip
    frames, lr_size, size, times = torch.rand(1, 2, 3, 6, 7, generator=rng), (6, 7), (11, 17), [0.25, 1.0]
    maps = [t.numpy().astype(dtype) for t in Encoder(model, upsample)(pad_to_multiple(frames))]
    expected = model.query(model.encode(frames), frames, times, size, upsample)
    to_onnx(model, tmp_path, profile="plugin", dtype=dtype, frame_upsample=upsample)
    feeds = dict(zip(("maps", "colours"), maps, strict=False))
    feeds |= {"times": np.array(times, np.float32), "lr_size": np.array(lr_size), "size": np.array(size)}
    image, _ = evaluator(harness, tmp_path / "query.onnx").run(None, feeds)
    error = (torch.from_numpy(image) - expected).double()
    if dtype == "float16":
        assert -10 * error.square().mean().log10() >= EXPORT_FLOAT16_PSNR
    else:
        assert error.abs().max() <= EXPORT


@pytest.mark.slow
@pytest.mark.parametrize("bias", [True, False])
def test_an_exported_convolution(harness, tmp_path, bias):
    class Convolution(torch.nn.Module):
        def __init__(self, weight, bias):
            super().__init__()
            self.weight, self.bias = torch.nn.Parameter(weight), None if bias is None else torch.nn.Parameter(bias)

        def forward(self, input, offset_mask):
            return vinr.ops.deform_conv2d_packed(input, offset_mask, self.weight, self.bias, (2, 1), (1, 2), (1, 2))

    sample = Sample("x", channels=8, groups=2, offset_groups=4, stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    input, offset_mask, weight, b = (t.float() for t in sample.packed())
    module = Convolution(weight, b if bias else None)
    inputs = {"input": input, "offset_mask": offset_mask}
    options = Options("plugin", "grid_sample", "float32", None, None, None, 20, "whole")
    program = onnx_model._export(module, list(inputs.values()), [None, None], list(inputs), ["output"], options)
    program.save(tmp_path / "convolution.onnx")
    (out,) = evaluator(harness, tmp_path / "convolution.onnx").run(None, {k: t.numpy() for k, t in inputs.items()})
    assert relative_error(torch.from_numpy(out), module(*inputs.values()).detach()) <= OP[torch.float32]
