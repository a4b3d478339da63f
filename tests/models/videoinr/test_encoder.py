"""The encoder's shared work against the published form, step by step."""

import pytest
import torch

import golden_cases
import vinr_engine as vinr
from benchmarks.tolerances import AUTOCAST_PSNR, ENCODER, GOLDEN, relative_error
from vinr_engine import reference
from vinr_engine.models.layers import conv_blstm

SIZES = ((1, 3), (4, 4), (6, 11), (13, 20))


def random_model(nf=8, groups=2):
    """Small, with offsets of some pixels and biases that show: untrained ones are zero."""
    torch.manual_seed(1)
    model = vinr.VideoINR(nf=nf, groups=groups, front_blocks=1, back_blocks=2).double()
    for name, parameter in model.named_parameters():
        if "imnet" not in name:
            scale = 1.5 / parameter[0].numel() ** 0.5 if name.endswith("weight") else 0.5
            torch.nn.init.uniform_(parameter, -scale, scale)
    return model


def encoder_parameters(model):
    return {n: p for n, p in model.named_parameters() if "imnet" not in n}


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.mark.parametrize("B", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_is_the_published_form(model, backend, size, B):
    torch.manual_seed(2)
    frames = torch.rand(B, 2, 3, *size, dtype=torch.float64)
    ours = model.encode(frames)
    expected = reference.encoder(dict(model.named_parameters()), frames, vinr.ops.deform_conv2d)
    assert relative_error(ours, expected) <= ENCODER
    with torch.inference_mode():
        assert relative_error(model.encode(frames), expected) <= ENCODER


def test_large_maps_run_one_direction_after_the_other(model, monkeypatch):
    frames = torch.rand(2, 2, 3, 7, 12, dtype=torch.float64)
    with torch.inference_mode():
        together = model.encode(frames)
        monkeypatch.setattr(conv_blstm, "TOGETHER_BYTES", 0)
        assert relative_error(model.encode(frames), together) <= ENCODER


@pytest.mark.parametrize("size", SIZES[1:3], ids=str)
def test_gradients_are_those_of_the_published_form(model, size):
    torch.manual_seed(3)
    frames = torch.rand(2, 2, 3, *size, dtype=torch.float64, requires_grad=True)
    ours = model.encode(frames)
    expected = reference.encoder(dict(model.named_parameters()), frames, vinr.ops.deform_conv2d)
    towards = torch.randn_like(expected)
    inputs = {"frames": frames, **encoder_parameters(model)}
    grads = torch.autograd.grad(ours, inputs.values(), towards, allow_unused=True)
    wanted = torch.autograd.grad(expected, inputs.values(), towards, allow_unused=True)
    for name, a, b in zip(inputs, grads, wanted, strict=True):
        assert (a is None) == (b is None), name
        if b is not None:
            assert relative_error(a, b) <= ENCODER, name


def test_parameters_may_change_between_calls(model):
    """What the first step's zero state gives depends on parameters: nothing of it may outlive a call."""
    frames = torch.rand(1, 2, 3, 8, 8, dtype=torch.float64)
    changed = random_model()
    with torch.inference_mode():
        before = changed.encode(frames)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1.1)
    with torch.inference_mode():
        after = changed.encode(frames)
        expected = reference.encoder(dict(changed.named_parameters()), frames)
    assert relative_error(after, expected) <= ENCODER
    assert relative_error(before, after) > 1e-3


@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
def test_compiles_whole(model, grad):
    frames = torch.rand(1, 2, 3, 8, 12, dtype=torch.float64)
    compiled = torch.compile(model.encode, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(grad):
        assert relative_error(compiled(frames), model.encode(frames)) <= ENCODER


def test_empty_batch(model):
    with torch.inference_mode():
        assert model.encode(torch.rand(0, 2, 3, 5, 6, dtype=torch.float64)).shape == (0, 3, 8, 8, 8)


@pytest.mark.parametrize("case_name", golden_cases.NETWORK_CASES)
def test_published_form_is_golden(case_name):
    case = golden_cases.tensors(case_name, torch.float64)
    network = golden_cases.model(case["seed"], torch.float64)
    with torch.inference_mode():
        features = reference.encoder(dict(network.named_parameters()), case["frames"], vinr.ops.deform_conv2d)
    assert (features - case["encoded"]).abs().max() <= GOLDEN[torch.float64]


def test_autocast():
    """bfloat16 convolutions, float32 features: the trunk sums in float32."""
    case = golden_cases.tensors("scale4_test", torch.float32)
    network = golden_cases.model(case["seed"], torch.float32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        features = network.encode(case["frames"])
    assert features.dtype == torch.float32
    error = (features - case["encoded"]).square().mean().sqrt() / (case["encoded"].max() - case["encoded"].min())
    assert -20 * torch.log10(error) >= AUTOCAST_PSNR


def test_autocast_trains(model):
    network = random_model().float()
    frames = torch.rand(1, 2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        network.encode(frames).sum().backward()
    wanted = torch.autograd.grad(
        model.encode(frames.double()).sum(), list(encoder_parameters(model).values()), allow_unused=True
    )
    for (name, parameter), grad in zip(encoder_parameters(network).items(), wanted, strict=True):
        assert (parameter.grad is None) == (grad is None), name
        assert grad is None or torch.isfinite(parameter.grad).all(), name
