"""V3's and Thera's queries as modules, held to what the published code gives."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import golden_cases
from benchmarks.tolerances import FIELD, FIELD_GRADIENT, relative_error
from vinr_engine import backends, reference
from vinr_engine.drop_in.thera import TheraQuery
from vinr_engine.drop_in.v3 import V3Query, V3Refine, nearest_frames, times_of
from vinr_engine.ops.op import tensors_of

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def v3(case, dtype):
    query = V3Query().to(dtype)
    query.load_state_dict(golden_cases.sibling_parameters("v3", case["seed"], dtype))
    return query


@DTYPES
@pytest.mark.parametrize("clip", [True, False])
def test_v3(dtype, clip):
    case = golden_cases.sibling_cases("v3", dtype)["scale4"]
    size, times = tuple(case["size"].tolist()), times_of(3, 4)
    assert torch.equal(times, torch.as_tensor(case["times"]).double())
    with torch.no_grad():
        found = v3(case, dtype)(case["encoding"], case["frames"], size, times, clip=clip)
    expected = case["unclipped"].clamp(0, 1) if clip else case["unclipped"]
    assert (found - expected).abs().max() <= FIELD[dtype]


def test_v3s_frames_and_offsets():
    case = golden_cases.sibling_cases("v3")["scale4"]
    index, offset = nearest_frames(times_of(3, 4), 3)
    assert index.tolist() == list(case["nearest_frame"])
    torch.testing.assert_close(offset, torch.as_tensor(case["z"]).double())


@DTYPES
def test_v3s_gradients(dtype):
    case = golden_cases.sibling_cases("v3", dtype)["fraction"]
    query = v3(case, dtype)
    features = case["encoding"].requires_grad_()
    # -0.37 frames from the first lie outside of the module's times: the second frame alone, half a frame before it
    times = torch.tensor([0.5 + 2e-5], dtype=torch.float64)
    found = query(features, torch.zeros(2, 5, 5, 3, dtype=dtype), (13, 13), times, clip=False)
    chosen = case["grad"][1:]
    leaves = [features, *query.parameters()]
    grads = torch.autograd.grad(found, leaves, chosen)
    weight, bias = query.out_conv.kernel.t(), query.out_conv.bias
    damping = reference.field_damping(query.freqs, query.k, (5 / 13) ** 2)
    index, offset = nearest_frames(times, 2)
    straight = reference.v3_query(features, (weight, bias), query.freqs, damping, (13, 13), (index, offset.to(dtype)))
    straight = straight * straight.new_tensor(V3Query.std) + straight.new_tensor(V3Query.mean)
    assert (found - straight).abs().max() <= FIELD[dtype]
    for grad, expected in zip(grads, torch.autograd.grad(straight, leaves, chosen), strict=True):
        assert relative_error(grad, expected) <= FIELD_GRADIENT[dtype]


@DTYPES
@pytest.mark.parametrize(("name", "functions"), [("air", 32), ("plus", 512)])
def test_thera(dtype, name, functions):
    case = golden_cases.sibling_cases("thera", dtype)[name]
    p = golden_cases.sibling_parameters("v3", case["seed"], dtype, encoding=64, basis=functions, dims=2)
    query = TheraQuery(64, functions).to(dtype)
    query.load_state_dict({"components" if n == "freqs" else n: t for n, t in p.items()})
    source = torch.rand(2, *case["encoding"].shape[1:3], 3, dtype=dtype)
    size = tuple(case["size"].tolist())
    with torch.no_grad():
        found = query(case["encoding"], source, size, case["t"], clip=False)
    (ky, _), (kx, _) = (reference.nearest_pixels(n, m) for n, m in zip(source.shape[1:3], size, strict=True))
    added = 0.5 * case["field"] + torch.tensor((0.4488, 0.4371, 0.4040), dtype=dtype) + source[:, ky][:, :, kx]
    assert (found - added).abs().max() <= FIELD[dtype]


@DTYPES
def test_v3s_refining_block(dtype):
    cases = golden_cases.sibling_cases("v3", dtype)
    case = {n: t for key, named in cases.items() for n, t in named.items() if key == "refine" or "refine" in key}
    block = V3Refine(16).to(dtype)
    state = {n.removeprefix("param:"): t for n, t in case.items() if n.startswith("param:")}
    block.load_state_dict({n: t.view_as(block.state_dict()[n]) for n, t in state.items()})
    with torch.no_grad():
        assert (block(case["x"]) - case["out"]).abs().max() <= FIELD[dtype]
        assert (block(case["x"][0]) - case["out"][0]).abs().max() <= FIELD[dtype]


def features(T=2, h=3, w=4, C=8):
    return torch.rand(T, h, w, C), torch.rand(T, h, w, 3)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 1.5], r"times must lie in \[0, 1\]"), ([-0.1], r"times must lie in \[0, 1\]"),
        ([math.nan], r"times must lie in \[0, 1\]"), (torch.zeros(1, 1), r"times must be \[N\]"),
    ],
)  # fmt: skip
def test_v3s_times(times, message):
    with pytest.raises(ValueError, match=f"V3Query: {message}"):
        V3Query(8, 4)(*features(), (6, 8), times)


def test_bad_arguments():
    encoding, frames = features()
    query, thera = V3Query(8, 4), TheraQuery(8, 4)
    for call, message in (
        (lambda: query(encoding[..., :7], frames, (6, 8), [0]), r"V3Query: features must be .* = \[2, 3, 4, 8\]"),
        (lambda: query(encoding, frames[:1], (6, 8), [0]), r"V3Query: frames must be .* = \[2, 3, 4, 3\]"),
        (lambda: query(encoding, frames, (0, 8), [0]), "size must be"),
        (lambda: query(encoding, frames, (6, math.inf), [0]), "size must be"),
        (lambda: query(encoding, frames, "68", [0]), "size must be"),
        (lambda: thera(encoding, frames, (6, 8), math.nan), "TheraQuery: t must be a number of at least 0, got nan"),
        (lambda: thera(encoding, frames, (6, 8), -1.0), "TheraQuery: t must be a number of at least 0, got -1.0"),
        (lambda: thera(encoding, frames, (6, 8), torch.ones(3)), r"t must be one number, or \[B\] = \[2\] of them"),
        (lambda: thera(encoding, frames[..., :2], (6, 8)), "TheraQuery: source must be"),
        (lambda: V3Refine(8)(encoding[0]), r"V3Refine: x must be \[T, h, w, C\]"),
        (lambda: V3Refine(4)(encoding), "V3Refine: x must have 4 channels, got 8"),
        (lambda: times_of(2, 0), "frames and rate must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.slow
def test_compiles_as_one_graph():
    torch.compiler.reset()
    query, arguments = V3Query(8, 4), (*features(), (6, 8), torch.tensor([0.0, 0.75]))
    compiled = torch.compile(query, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), query(*arguments))


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(t.untyped_storage().nbytes() // 4 for t in tensors_of((out,)))])
        return out


extension = pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)


@extension
def test_no_tensor_grows_with_scale_and_time_but_the_result():
    """Neither forward nor backward holds parameters of all pixels, let alone of output pixels."""
    query, (encoding, frames) = V3Query(16, 128), features(2, 48, 48, 16)
    encoding.requires_grad_()
    blocks = 1024 * 4 * 128  # of input pixels' parameters
    for scale, rate in ((1, 1), (3, 4)):
        size, times = (48 * scale, 48 * scale), times_of(2, rate)
        with Largest() as seen:
            query(encoding, frames, size, times, clip=False).square().sum().backward()
        assert seen.numbers <= max(blocks, len(times) * size[0] * size[1] * 3)


MEMORY = """
import sys, torch
from benchmarks.cpu.memory import CLEAR, _give_back, _pin_allocator, _resident
from vinr_engine.drop_in.v3 import V3Query, times_of
_pin_allocator()
torch.set_num_threads(2)
scale, rate = map(int, sys.argv[1:])
query, features, frames = V3Query(32, 512), torch.rand(2, 24, 24, 32), torch.rand(2, 24, 24, 3)
with torch.inference_mode():
    query(features[:, :2, :2], frames[:, :2, :2], (2, 2), [0])
    _give_back()
    CLEAR.write_text("5")
    before = _resident("VmRSS")
    out = query(features, frames, (24 * scale, 24 * scale), times_of(2, rate))
    print(_resident("VmHWM") - before - out.numel() * 4)
"""


@extension
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells")
def test_what_is_resident_beside_the_result():
    """A straight form has 2048 numbers for each of 331776 output pixels, 2.7 GB."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-c", MEMORY, "8", "8"]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 48e6
