"""BF-STVSR's graphs: the modules that are traced, run by torch, and the files, run by ONNX Runtime."""

import pytest
import torch

import vinr_engine as vinr
from benchmarks.tolerances import EXPORT
from golden_splatting import case_of
from vinr_engine.errors import UsageError

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from vinr_engine.export import ExportedModel, metadata, to_onnx
from vinr_engine.export.onnx.bf_stvsr import BFEncoder, BFQuery
from vinr_engine.models.videoinr.encoder import pad_to_multiple

CASES = [((12, 16), (48, 64), (0.0, 0.3)), ((9, 14), (13, 29), (0.5,)), ((8, 12), (8, 12), (1.0,))]


def drawn(case="scale4"):
    """A small network whose motion shows, from a seed."""
    torch.manual_seed(0)
    network = vinr.BFSTVSR(groups=2, front_blocks=1, back_blocks=1).eval()
    _, parameters = case_of("bf_stvsr", case, torch.float32)
    network.load_state_dict(network.state_dict() | parameters)
    return network


def expected(model, frames, times, size):
    with torch.inference_mode():
        return model.decode(model.encode(frames)[..., : frames.shape[3], : frames.shape[4]], times, size)


@pytest.mark.parametrize("case", ["scale4", "growing"])
@pytest.mark.parametrize(("lr", "size", "times"), CASES)
def test_the_traced_modules_are_the_engines(case, lr, size, times, rng):
    model, frames = drawn(case).double(), torch.rand(1, 2, 3, *lr, generator=rng).double()
    query = BFQuery(model, None, None)
    with torch.inference_mode():
        given = {"features": BFEncoder(model)(pad_to_multiple(frames)), "lr_size": torch.tensor(lr)}
        given |= {"times": torch.tensor(times, dtype=torch.float64), "size": torch.tensor(size)}
        image, flow = query(*(given[name] for name in query.input_names))
    pictures, motion = expected(model, frames, times, size)
    assert (image - pictures).abs().max() <= EXPORT
    unit = 20 * size[0] / lr[0]
    moved = (motion[:, :, 0, ..., :2] * unit).permute(0, 1, 4, 2, 3).flatten(1, 2)
    assert (flow[0] - moved).abs().max() <= EXPORT * max(1, moved.abs().max())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An exported network, and the folder."""
    folder, model = tmp_path_factory.mktemp("bf"), drawn("growing")
    to_onnx(model, folder)
    return model, folder


@pytest.mark.slow
def test_onnx_runtime(files, rng):
    pytest.importorskip("onnxruntime")
    model, folder = files
    exported = ExportedModel(folder)
    for lr, size, times in CASES:
        frames = torch.rand(1, 2, 3, *lr, generator=rng)
        features = exported.encode_pair(*frames.unbind(1))
        found = exported.query(features, frames, times, size)
        assert (found - expected(model, frames, times, size)[0]).abs().max() <= EXPORT


@pytest.mark.slow
def test_metadata(files):
    model, folder = files
    facts = metadata.read(folder / "query.onnx")
    assert (facts.network, facts.config, facts.options.layers) == ("BFSTVSR", model.config, "whole")


@pytest.mark.parametrize("options", [{"profile": "plugin"}, {"dtype": "float16"}, {"frame_upsample": 1}])
def test_what_its_graphs_lack_is_refused(options, tmp_path):
    with pytest.raises(UsageError, match="a BFSTVSR is exported with"):
        to_onnx(drawn(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
