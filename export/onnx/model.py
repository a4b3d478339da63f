"""Writes a network as two ONNX files, the encoder and the query."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch._dynamo
from torch import nn

from vinr_engine import files
from vinr_engine._version import __version__
from vinr_engine.errors import UsageError
from vinr_engine.export import metadata
from vinr_engine.export.metadata import Exportable
from vinr_engine.export.onnx.bf_stvsr import BFEncoder, BFQuery
from vinr_engine.export.onnx.files import Pair, paths
from vinr_engine.export.onnx.graphs import BlockQuery, Encoder, PluginQuery, PortableQuery, Query
from vinr_engine.export.options import Options
from vinr_engine.export.packages import require
from vinr_engine.models import BFSTVSR, Network

EXAMPLE = (16, 24)  # h', w' of the frames that the graphs are traced with


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks: on packages that are not installed, deprecations, nodes that it leaves alone."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _export(
    module: nn.Module, arguments: Sequence[torch.Tensor], shapes: Sequence[Any], inputs: list[str],
    outputs: list[str], options: Options,
) -> Any:  # fmt: skip
    from vinr_engine.export.onnx import lowering
    from vinr_engine.export.onnx.tidy import tidy

    # With sizes left open, keeping the cache of traced shapes takes longer than tracing.
    with torch.no_grad(), quiet(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        program = torch.export.export(module, tuple(arguments), dynamic_shapes=tuple(shapes))
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=options.opset, input_names=inputs, output_names=outputs, verbose=False,
            optimize=False, custom_translation_table=lowering.table(options),
        )  # fmt: skip
        assert exported is not None
        tidy(exported.model)
        return exported


def export_encoder(model: Exportable, options: Options) -> Any:
    h4, w4 = torch.export.Dim("h4", min=1, max=4096), torch.export.Dim("w4", min=1, max=4096)
    frames = torch.rand(1, 2, 3, *EXAMPLE).to(getattr(torch, options.dtype))
    arguments, names = [frames], ["frames"]
    shapes: list[Any] = [{3: 4 * h4, 4: 4 * w4}]
    if isinstance(model, BFSTVSR):
        return _export(BFEncoder(model), arguments, shapes, names, list(BFEncoder.output_names), options)
    if options.frame_upsample is None:
        arguments.append(torch.tensor([4]))
        names.append("frame_upsample")
        shapes.append(None)
    encoder = Encoder(model, options.frame_upsample)
    return _export(encoder, arguments, shapes, names, encoder.output_names, options)


def export_query(model: Exportable, options: Options) -> Any:
    if isinstance(model, BFSTVSR):
        return _export_query(BFQuery(model, options.times, options.size), BFEncoder(model), options)
    portable = BlockQuery if options.layers == "blocks" else PortableQuery
    kind = PluginQuery if options.profile == "plugin" else portable
    query = kind(model, options.frame_upsample, options.times, options.size)
    return _export_query(query, Encoder(model, options.frame_upsample or 4), options)


def _export_query(query: Query | BFQuery, encoder: Encoder | BFEncoder, options: Options) -> Any:
    h, w = EXAMPLE
    frames = torch.zeros(1, 2, 3, h, w, dtype=getattr(torch, options.dtype))
    with torch.no_grad():
        made = encoder(frames)
    encoded = dict(zip(encoder.output_names, made if isinstance(made, tuple) else (made,), strict=True))
    dynamic = torch.export.Dim.DYNAMIC
    rows, planes = {1: dynamic, 2: dynamic}, {3: dynamic, 4: dynamic}
    examples: dict[str, tuple[torch.Tensor, Any]] = {
        **{name: (maps, rows if name in ("maps", "colours") else planes) for name, maps in encoded.items()},
        "frames": (frames, planes),
        "times": (torch.tensor([0.0, 0.5, 1.0]), {0: dynamic}),
        "lr_size": (torch.tensor([h, w]), None),
        "size": (torch.tensor([2 * h + 1, 2 * w + 1]), None),
    }
    names = query.input_names
    arguments, shapes = zip(*(examples[name] for name in names), strict=True)
    # one variadic argument holds them all
    return _export(query, arguments, [tuple(shapes)], names, ["image", "flow"], options)


def to_onnx(
    model: Network,
    destination: str | os.PathLike[str],
    *,
    profile: str = "portable",
    deform_conv: str = "grid_sample",
    dtype: str = "float32",
    frame_upsample: int | None = 4,
    times: Sequence[float] | None = None,
    size: tuple[int, int] | None = None,
    opset: int = 20,
    layers: str = "blocks",
    overwrite: bool = False,
) -> Pair:
    """Write `model`, a VideoINR or a BFSTVSR, as two ONNX files, the encoder of a pair of frames and the query.

    A BFSTVSR is written in float32 and standard nodes alone; opset, times and size, and what deformable convolution
    becomes, are open.

    Args:
        destination: a folder, which gets encoder.onnx and query.onnx, or NAME.onnx for NAME.encoder.onnx and
            NAME.query.onnx.
        profile: "portable", standard nodes alone; or "plugin", nodes `vinr::DeformConv2d` and `vinr::InrQuery` for the
            TensorRT plugin library.
        deform_conv: what deformable convolution becomes in the portable profile: "grid_sample", which every runtime
            has, or "deform_conv", which is faster in ONNX Runtime and which OpenVINO and TensorRT-RTX lack.
        dtype: "float32" or "float16"; in float16, positions, times, phases and flow stay float32, and by blocks all
            that lies between the query's inputs and weights and its outputs.
        frame_upsample: factor from 1 to 16 by which colours are enlarged, or None for an input of the encoder (from 2).
        times: the times that the query decodes, in [0, 1], or None for an input.
        size: (HH, WW) of the output, or None for an input.
        opset: 20, 21 or 22.
        layers: of a VideoINR, whether the query runs for "blocks" of pixels in turn (Loop nodes: what its layers make
            stays in a processor's cache) or for the "whole" picture at once, which suits GPUs and which TensorRT-RTX
            needs.

    Frames' sides are inputs, multiples of 4 (`videoinr.encoder.pad_to_multiple`). Inputs and outputs are
    those of `Encoder` and `Query` in graphs.py; metadata hold the constructor's values, the options, the limits and the
    version. Nothing is written if the export fails.

    Raises:
        UsageError: a network that cannot be exported, an option out of its range, or a file that exists and `overwrite`
            is not set.
        VinrError: a package that the export needs is not installed, or the files cannot be written.
    """
    fixed = None if times is None else tuple(times)
    options = Options(profile, deform_conv, dtype, frame_upsample, fixed, size, opset, layers)
    require("onnx", "onnxscript")
    from vinr_engine.export.onnx import schemas

    schemas.register()
    pair = paths(destination)
    for path in (pair.encoder, pair.query):
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists: choose another name, or --overwrite")
    files.check_writable(pair.encoder.parent)
    network = _prepared(metadata.exportable(model), getattr(torch, dtype))
    if isinstance(network, BFSTVSR):
        options = _of_bf_stvsr(options)
    programs = export_encoder(network, options), export_query(network, options)
    files.make_folder(pair.encoder.parent)
    with contextlib.ExitStack() as both:  # or neither: they take their places one right after the other
        for program, path, graph in zip(programs, (pair.encoder, pair.query), ("encoder", "query"), strict=True):
            program.model.metadata_props.update(metadata.of(network, options, graph))
            program.model.producer_name, program.model.producer_version = "vinr_engine", __version__
            both.enter_context(files.reported(path))
            program.save(both.enter_context(files.draft(path)), external_data=False)
    return pair


def _of_bf_stvsr(options: Options) -> Options:
    """What they come to for BF-STVSR, whose graphs read no colours and whose query takes the picture as a whole.

    Raises UsageError for what its graphs do not have.
    """
    for name, value, only in (
        ("profile", options.profile, "portable"),
        ("dtype", options.dtype, "float32"),
        ("frame-upsample", options.frame_upsample, 4),
    ):
        if value != only:
            raise UsageError(f"--{name} {value}: a BFSTVSR is exported with {only} alone")
    return replace(options, layers="whole")


def _prepared(model: Exportable, dtype: torch.dtype) -> Exportable:
    """A copy in evaluation mode, on the CPU, in the graphs' dtype; the caller's model stays as it is."""
    copy = type(model)(**model.config)
    copy.load_state_dict(model.state_dict())
    return copy.to(dtype).eval().requires_grad_(False)
