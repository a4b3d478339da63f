"""The TensorRT plugins: what TensorRT asks of them, and what they compute, run on the host by tests/simt."""

import pathlib

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from vinr_engine.export import onnx_model
from vinr_engine.export.graphs import Encoder

import golden_cases
import vinr_engine as vinr
from ops.deform_conv2d_samples import Sample
from simt import build
from simt.test_inr_query import arrays, golden
from tensorrt_plugins import BAD, DEFORM, PARAMETERS, QUERY, headers
from tolerances import EXPORT, EXPORT_FLOAT16_PSNR, GOLDEN, GOLDEN_QUERY, OP, relative_error
from vinr_engine import reference
from vinr_engine.models.video_inr import pad_to_multiple
from vinr_engine.ops.hoisting import hoist

FOLDER = pathlib.Path(__file__).parent
FLOAT, HALF, INT64 = 0, 1, 8  # of nvinfer1::DataType
LINEAR, CHW32, HWC, HWC8 = 0, 5, 8, 2  # of nvinfer1::TensorFormat
DTYPES = {FLOAT: np.float32, HALF: np.float16}


@pytest.fixture(scope="module")
def harness():
    return build.load("plugin_harness", FOLDER, (headers(), FOLDER / "cuda_stub"))


def create(harness, name, fields):
    return harness.create(name, list(fields.items()))


def test_creators(harness):
    kind = "PLUGIN CREATOR_V3ONE"
    assert harness.creators() == [
        ("DeformConv2d", "1", "vinr", kind, list(DEFORM)),
        ("InrQuery", "1", "vinr", kind, list(QUERY)),
    ]


@pytest.mark.parametrize(("name", "fields"), [("DeformConv2d", DEFORM), ("InrQuery", QUERY)])
def test_fields_come_back(harness, name, fields):
    """What is serialised makes the same plugin again, from clones as well."""
    plugin = create(harness, name, fields)
    assert plugin.identity() == (name, "1", "vinr")
    for same in (plugin, plugin.clone(), plugin.attached(), create(harness, name, plugin.fields())):
        assert same.fields() == fields
        assert same.texts() == plugin.texts()
    first = next(iter(fields))
    other = create(harness, name, fields | ({first: [2, 1]} if name == "DeformConv2d" else {"omega": 20.0}))
    assert other.texts() != plugin.texts()
    assert harness.logged() == []


@pytest.mark.parametrize(("name", "wrong", "message"), BAD, ids=[message[:30] for *_, message in BAD])
def test_bad_fields_are_refused(harness, name, wrong, message):
    with pytest.raises(RuntimeError) as refused:
        create(harness, name, (DEFORM if name == "DeformConv2d" else QUERY) | wrong)
    assert str(refused.value).startswith(f"vinr::{name}: {message}")
    assert "\n" not in str(refused.value)


def test_missing_and_doubled_fields_are_refused(harness):
    fields = list(DEFORM.items())
    for given, message in ((fields[1:], "field stride must be given once, was given 0 times"),
                           ([*fields, fields[0]], "field stride must be given once, was given 2 times")):  # fmt: skip
        with pytest.raises(RuntimeError, match=message):
            harness.create("DeformConv2d", given)
    with pytest.raises(RuntimeError, match="no fields were given"):
        harness.create("InrQuery", [], no_fields=True)


def test_output_shapes(harness):
    deform = create(harness, "DeformConv2d", DEFORM)
    shapes = [["B", "C", "Hin", "Win"], ["B", "54", "H", "W"], ["O", "C", "3", "3"], ["O"]]
    for inputs in (shapes, shapes[:3]):
        assert deform.output_shapes(inputs) == [["B", "O", "H", "W"]]
        assert deform.output_types([HALF] * len(inputs)) == [HALF]
    query = create(harness, "InrQuery", QUERY)
    shapes = [["1", "h", "w", "80"], ["N"], ["P"], ["lh"], ["lw"], ["HH"], ["WW"], ["1", "uh", "uw", "8"]]
    assert query.output_shapes(shapes) == [["1", "N", "3", "HH", "WW"], ["1", "N", "4", "HH", "WW"]]
    assert query.output_types([HALF, *[FLOAT] * 7]) == [FLOAT, FLOAT]
    with pytest.raises(RuntimeError, match=r"vinr::InrQuery: inputs must be maps, .* columns, colours, got 7"):
        query.output_shapes(shapes[:7])
    with pytest.raises(RuntimeError, match=r"vinr::DeformConv2d: inputs must be input, .*, got 2"):
        deform.output_shapes(shapes[:2])


def combinations(plugin, shapes, outputs):
    """All (types and formats of inputs, then of outputs) that TensorRT could choose."""
    chosen = [()]
    for _ in shapes:
        options = [(t, f) for t in (FLOAT, HALF, INT64) for f in (LINEAR, HWC, HWC8, CHW32)]
        chosen = [
            (*before, option)
            for before in chosen
            for option in options
            if plugin.supports(
                [(*pair, shape) for pair, shape in zip((*before, option), shapes, strict=False)], len(shapes) - outputs
            )
        ]
    return chosen


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("channels", "out_channels"), [(8, 16), (6, 16), (8, 12)])
def test_formats_of_deform_conv2d(harness, bias, channels, out_channels):
    plugin = create(harness, "DeformConv2d", DEFORM)
    sizes = [[-1, channels, -1, -1], [-1, 54, -1, -1], [out_channels, channels, 3, 3], [out_channels]]
    sizes = [*sizes[: 3 + bias], [-1, out_channels, -1, -1]]

    def all_in(dtype, layout):
        return tuple((dtype, LINEAR if 2 <= i < 3 + bias else layout) for i in range(len(sizes)))

    expected = {all_in(FLOAT, LINEAR), all_in(FLOAT, HWC), all_in(HALF, LINEAR)}
    if channels % 8 == out_channels % 8 == 0:
        expected.add(all_in(HALF, HWC8))
    assert set(combinations(plugin, sizes, 1)) == expected


def test_formats_of_inr_query(harness):
    plugin = create(harness, "InrQuery", QUERY)
    sizes = [[1, -1, -1, 80], [-1], [100], [-1], [-1], [-1], [-1], [1, -1, -1, 8], *[[1, -1, 4, -1, -1]] * 2]
    like_maps = (0, 2, 7)
    assert set(combinations(plugin, sizes, 2)) == {
        tuple((dtype if i in like_maps else FLOAT, LINEAR) for i in range(10)) for dtype in (FLOAT, HALF)
    }


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


def resized(tensors, position, size):
    return [(t, f, size if i == position else s) for i, (t, f, s) in enumerate(tensors)]


def test_wrong_sizes_are_refused(harness):
    plugin = create(harness, "DeformConv2d", DEFORM)
    sizes = [1, 8, 5, 6], [1, 54, 5, 6], [4, 8, 3, 3], [4]
    inputs, outputs = [(FLOAT, LINEAR, s) for s in sizes], [(FLOAT, LINEAR, [1, 4, 5, 6])]
    plugin.on_shape_change(inputs, outputs)
    for position, size, message in (
        (0, [8, 5, 6], r"input must be [B, C, H_in, W_in], got [8, 5, 6]"),
        (0, [1, 8, 5, 7], "offset_mask must have as many pixels as the output"),
        (1, [1, 27, 5, 6], r"offset_mask must be [B, 3*G*K, H, W] = [1, 54, 5, 6], got [1, 27, 5, 6]"),
        (2, [4, 4, 3, 3], r"weight must be [O, C/group, kh, kw] = [4, 8, 3, 3], got [4, 4, 3, 3]"),
        (3, [5], r"bias must be [O] = [4], got [5]"),
    ):
        with pytest.raises(RuntimeError) as refused:
            plugin.on_shape_change(resized(inputs, position, size), outputs)
        assert str(refused.value).startswith(f"vinr::DeformConv2d: {message}")
    with pytest.raises(RuntimeError, match="output must be"):
        plugin.on_shape_change(inputs, [(FLOAT, LINEAR, [1, 4, 5, 7])])
    # A workspace for sizes that cannot be is more than any GPU has: the builder then refuses the node.
    assert plugin.workspace_bytes(resized(inputs, 3, [5]), outputs) > 1 << 60
    assert harness.logged() == ["vinr::DeformConv2d: bias must be [O] = [4], got [5]"]


def test_wrong_sizes_of_the_query_are_refused(harness):
    plugin = create(harness, "InrQuery", QUERY)
    P = PARAMETERS
    sizes = [1, 4, 8, 96], [2], [P], [3], [7], [9], [20], [1, 8, 16, 8]
    inputs = [(FLOAT, LINEAR, s) for s in sizes]
    outputs = [(FLOAT, LINEAR, [1, 2, c, 9, 20]) for c in (3, 4)]
    plugin.on_shape_change(inputs, outputs)
    for position, size, message in (
        (0, [2, 4, 8, 96], "maps must be [1, h', w', M] = [1, 4, 8, 96], got [2, 4, 8, 96]"),
        (0, [1, 4, 8, 64], "maps must be"),
        (1, [1, 2], "times must be [N], got [1, 2]"),
        (2, [P + 1], f"weights must be [N] = [{P}], got [{P + 1}]"),
        (3, [5], "lr_rows and lr_columns must lie within maps [1, 4, 8, 96], got 5 and 7"),
        (6, [0], "a size of 0 is not one that the kernels count"),
        (7, [1, 8, 24, 8], "colours must be [1, u h', u w', 8] = [1, 8, 16, 8], got [1, 8, 24, 8]"),
    ):
        with pytest.raises(RuntimeError) as refused:
            plugin.on_shape_change(resized(inputs, position, size), outputs)
        assert str(refused.value).startswith(f"vinr::InrQuery: {message}")
    with pytest.raises(RuntimeError, match="flow must be"):
        plugin.on_shape_change(inputs, [outputs[0], outputs[0]])


def test_room_for_the_largest_sizes_does_for_all_smaller_ones(harness):
    """Smaller outputs are decoded more at a time: above the limit, at it, and below."""
    plugin = create(harness, "InrQuery", QUERY)
    weights, last = [PARAMETERS], None
    for height, times in ((2160, 16), (1080, 16), (720, 16), (300, 16), (64, 16), (64, 2)):
        sizes = [1, 540, 960, 96], [times], weights, [540], [960], [height], [2 * height], [1, 1080, 1920, 8]
        inputs = [(HALF if i in (0, 2, 7) else FLOAT, LINEAR, s) for i, s in enumerate(sizes)]
        outputs = [(FLOAT, LINEAR, [1, times, c, height, 2 * height]) for c in (3, 4)]
        needed = plugin.workspace_bytes(inputs, outputs)
        assert last is None or needed <= last
        last = needed
    assert harness.logged() == []


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
    options = onnx_model.Options("plugin", "grid_sample", dtype, upsample, None, None, 20)
    onnx_model._query(model.to(onnx_model.DTYPES[dtype]), options).save(tmp_path / "query.onnx")
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
    program = onnx_model._export(module, list(inputs.values()), [None, None], list(inputs), ["output"], 20, "plugin")
    program.save(tmp_path / "convolution.onnx")
    (out,) = evaluator(harness, tmp_path / "convolution.onnx").run(None, {k: t.numpy() for k, t in inputs.items()})
    assert relative_error(torch.from_numpy(out), module(*inputs.values()).detach()) <= OP[torch.float32]
