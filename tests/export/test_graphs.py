"""The modules that are traced into graphs, run by torch, against the engine."""

import pytest
import torch

from benchmarks.tolerances import EXPORT
from export_cases import CASES, RESIDUAL, SHRINKING, SMALL, network
from vinr_engine.export.onnx import residual
from vinr_engine.export.onnx.graphs import BlockQuery, Encoder, PluginQuery, PortableQuery
from vinr_engine.models.layers.warped_blend import bicubic
from vinr_engine.models.videoinr.encoder import pad_to_multiple


@pytest.mark.parametrize("config", [SMALL, RESIDUAL], ids=["published options", "residual"])
@pytest.mark.parametrize("frame_upsample", [4, 1])
def test_queries_are_the_engines(config, frame_upsample, rng):
    model = network(config)
    encoder = Encoder(model, frame_upsample)
    for lr, size, times in (*CASES, SHRINKING):
        frames = torch.rand(1, 2, 3, *lr, generator=rng)
        padded = pad_to_multiple(frames)
        given = dict(zip(encoder.output_names, encoder(padded), strict=True))
        given |= dict(frames=padded, lr_size=torch.tensor(lr), times=torch.tensor(times), size=torch.tensor(size))
        with torch.inference_mode():
            expected, moved = model.query_with_flow(model.encode(frames), frames, times, size, frame_upsample)
        for kind in (PortableQuery, BlockQuery, PluginQuery):
            query = kind(model, frame_upsample, None, None)
            image, flow = query(*(given[name] for name in query.input_names))
            assert (image - expected).abs().max() <= EXPORT
            assert (flow - moved).abs().max() <= EXPORT * max(1, moved.abs().max())


@pytest.mark.parametrize(("n", "n_out"), [(7, 29), (29, 7), (16, 16), (64, 25), (3, 2)])
def test_bicubic_weights(n, n_out, rng):
    image = torch.rand(1, 1, 3, n, n, generator=rng, dtype=torch.float64)
    weights = residual.bicubic_weights(torch.tensor(n), n + 3, n_out)
    assert not weights[:, n:].any()
    square = weights[:, :n].double()
    assert (square @ image @ square.t() - bicubic(image, (n_out, n_out))).abs().max() <= 1e-6
