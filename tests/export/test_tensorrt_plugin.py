"""What TensorRT asks of the plugins: fields, shapes, formats, sizes, workspace."""

import pytest

from tensorrt_plugins import (
    BAD,
    CHW32,
    DEFORM,
    FLOAT,
    HALF,
    HWC,
    HWC8,
    INT64,
    LINEAR,
    PARAMETERS,
    QUERY,
    create,
    load_harness,
)


@pytest.fixture(scope="module")
def harness():
    return load_harness()


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
