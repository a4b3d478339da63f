"""The ONNX operators of this project: domain "vinr", version 1. A TensorRT plugin of the same name implements each."""

from __future__ import annotations

import onnx
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset

from vinr_engine.export import plugins

DOMAIN = "vinr"
VERSION = 1
# Attributes by which TensorRT's parser finds the plugin.
PLUGIN = {"plugin_version": plugins.VERSION, "plugin_namespace": plugins.NAMESPACE}

_FLOATS = ["tensor(float)", "tensor(float16)"]
_Input, _Attribute, _Type = OpSchema.FormalParameter, OpSchema.Attribute, OpSchema.AttrType
_Option = OpSchema.FormalParameterOption
_PLUGIN_ATTRIBUTES = [_Attribute(name, onnx.helper.make_attribute(name, value)) for name, value in PLUGIN.items()]

DEFORM_CONV2D = OpSchema(
    "DeformConv2d",
    DOMAIN,
    VERSION,
    doc="Modulated deformable convolution; the masks are the sigmoid of the last G*K channels of offset_mask.",
    inputs=[
        _Input("input", "T", description="[B, C, H_in, W_in]"),
        _Input("offset_mask", "T", description="[B, 3*G*K, H, W]: for each group and tap dy, dx, then mask logits"),
        _Input("weight", "T", description="[O, C/group, kh, kw]"),
        _Input("bias", "T", param_option=_Option.Optional, description="[O]"),
    ],
    outputs=[_Input("output", "T", description="[B, O, H, W]")],
    type_constraints=[("T", _FLOATS, "float32 or float16")],
    attributes=[
        _Attribute("stride", _Type.INTS, "y, x"),
        _Attribute("padding", _Type.INTS, "y, x"),
        _Attribute("dilation", _Type.INTS, "y, x"),
        _Attribute("group", _Type.INT, "groups of the product"),
        _Attribute("deformable_group", _Type.INT, "G, groups of the offsets"),
        *_PLUGIN_ATTRIBUTES,
    ],
)

INR_QUERY = OpSchema(
    "InrQuery",
    DOMAIN,
    VERSION,
    doc="VideoINR's query of one pair of frames on hoisted maps.",
    # Sizes come as lengths of tensors: what a TensorRT plugin knows when it runs are shapes, not the values of inputs.
    inputs=[
        _Input("maps", "T", description="[1, h', w', M]: maps of feat, flow, encode at A and at B, side by side"),
        _Input("times", "tensor(float)", description="[N] in [0, 1]"),
        _Input("weights", "T", description="[P]: weight and bias of each layer of feat, flow, encode, flat"),
        _Input("lr_rows", "tensor(float)", description="[h] of the unpadded frames; its values mean nothing"),
        _Input("lr_columns", "tensor(float)", description="[w], the same"),
        _Input("rows", "tensor(float)", description="[HH] of the output, the same"),
        _Input("columns", "tensor(float)", description="[WW], the same"),
        _Input("colours", "T", param_option=_Option.Optional, description="[1, u h', u w', 8], where u is above 1"),
    ],
    outputs=[
        _Input("image", "tensor(float)", description="[1, N, 3, HH, WW]"),
        _Input("flow", "tensor(float)", description="[1, N, 4, HH, WW]"),
    ],
    type_constraints=[("T", _FLOATS, "float32 or float16")],
    attributes=[
        _Attribute("feat_widths", _Type.INTS, "widths of the network's input and of each of its layers"),
        _Attribute("flow_widths", _Type.INTS, "the same of flow"),
        _Attribute("encode_widths", _Type.INTS, "the same of encode"),
        _Attribute("omega", _Type.FLOAT, "frequency of the sines"),
        *_PLUGIN_ATTRIBUTES,
    ],
)


def register() -> None:
    """Make the operators known to onnx's checker, once."""
    for schema in (DEFORM_CONV2D, INR_QUERY):
        if not onnx.defs.has(schema.name, DOMAIN):
            onnx.defs.register_schema(schema)


def operator(schema: OpSchema) -> Op:
    """What a lowering calls to put the node into a graph."""
    register()
    return Op(Opset(DOMAIN, VERSION), schema.name, schema)
