import pytest
import torch
import torch.nn.functional as F

from benchmarks.tolerances import OP, relative_error
from vinr_engine import reference
from vinr_engine.drop_in import mmcv

TOLERANCE = OP[torch.float32]
MODULATED = mmcv.ModulatedDeformConv2d, mmcv.ModulatedDeformConv2dPack
PLAIN = mmcv.DeformConv2d, mmcv.DeformConv2dPack
PACKS = mmcv.DeformConv2dPack, mmcv.ModulatedDeformConv2dPack
# stride, padding, dilation, groups, deform_groups
GEOMETRIES = [(1, 1, 1, 1, 1), (2, 1, 1, 2, 4), (1, 2, 2, 4, 2), ((1, 2), (1, 0), (1, 1), 1, 8)]


def draw(*shape, scale=1.0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 2 - 1) * scale


def noisy(module):
    for i, parameter in enumerate(module.parameters()):
        parameter.data = draw(*parameter.shape, scale=0.2 + 0.01 * i)
    return module


def problem(kind, geometry, size=(9, 10)):
    """A module and the arguments of its forward, without those that a pack computes."""
    *pairs, groups, deform_groups = geometry
    module = noisy(kind(8, 12, (3, 3), *pairs, groups=groups, deform_groups=deform_groups))
    x = draw(2, 8, *size)
    H, W = F.conv2d(x[:, :1], torch.zeros(1, 1, 3, 3), None, *pairs).shape[2:]
    offset, mask = draw(2, deform_groups * 18, H, W, scale=2.0), draw(2, deform_groups * 9, H, W).sigmoid()
    return module, (x, offset, mask) if kind in MODULATED else (x, offset)


def expected(module, x, offset, mask=None, like=reference.deform_conv2d):
    tensors = (t if t is None else t.double() for t in (x, offset, module.weight, getattr(module, "bias", None)))
    return like(*tensors, module.stride, module.padding, module.dilation, None if mask is None else mask.double())


def gradients(module, out, arguments):
    return torch.autograd.grad(out, [*arguments, *module.parameters()], draw(*out.shape).to(out))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", [mmcv.DeformConv2d, mmcv.ModulatedDeformConv2d])
def test_is_the_reference(backend, kind, geometry):
    module, arguments = problem(kind, geometry)
    leaves = [t.requires_grad_() for t in arguments]
    out, true = module(*leaves), expected(module, *leaves)
    assert relative_error(out, true) <= TOLERANCE
    for found, one in zip(gradients(module, out, leaves), gradients(module, true, leaves), strict=True):
        assert relative_error(found, one) <= TOLERANCE


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", [mmcv.DeformConv2d, mmcv.ModulatedDeformConv2d])
def test_is_torchvision(kind, geometry):
    torchvision = pytest.importorskip("torchvision")
    module, arguments = problem(kind, geometry)
    leaves = [t.requires_grad_() for t in arguments]
    out, theirs = module(*leaves), expected(module, *leaves, like=torchvision.ops.deform_conv2d)
    assert relative_error(out, theirs) <= TOLERANCE
    for found, one in zip(gradients(module, out, leaves), gradients(module, theirs, leaves), strict=True):
        assert relative_error(found, one) <= TOLERANCE


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", PACKS)
def test_packs_compute_offsets_and_masks(backend, kind, geometry):
    module, (x, *_) = problem(kind, geometry)
    first, second, *rest = module.conv_offset(x).chunk(3 if kind in MODULATED else 2, 1)
    true = expected(module, x, torch.cat([first, second], 1), *(t.sigmoid() for t in rest))
    assert relative_error(module(x), true) <= TOLERANCE


def test_functions_are_the_modules(backend):
    module, arguments = problem(mmcv.ModulatedDeformConv2d, GEOMETRIES[1])
    found = mmcv.modulated_deform_conv2d(*arguments, module.weight, module.bias, *GEOMETRIES[1])
    torch.testing.assert_close(found, module(*arguments))
    module, arguments = problem(mmcv.DeformConv2d, GEOMETRIES[1])
    found = mmcv.deform_conv2d(*arguments, module.weight, *GEOMETRIES[1], False, 64)
    torch.testing.assert_close(found, module(*arguments))


@pytest.mark.parametrize("kind", PACKS)
def test_new_packs_are_convolutions(backend, kind):
    x = draw(1, 8, 7, 6)
    module = kind(8, 6, kernel_size=3, padding=1, deform_groups=2)
    true = F.conv2d(x, module.weight / (2 if kind in MODULATED else 1), None, padding=1)
    assert relative_error(module(x), true) <= TOLERANCE


def test_parameter_names():
    offsets = ["conv_offset.weight", "conv_offset.bias"]
    names = [["weight"], ["weight", *offsets], ["weight", "bias"], ["weight", "bias", *offsets]]
    for kind, expected_names in zip((*PLAIN, *MODULATED), names, strict=True):
        state = kind(8, 6, (3, 5), groups=2, deform_groups=4).state_dict()
        assert list(state) == expected_names
        assert list(state["weight"].shape) == [6, 4, 3, 5]
        if kind in PACKS:
            parts = 3 if kind in MODULATED else 2
            assert list(state["conv_offset.weight"].shape) == [parts * 4 * 15, 8, 3, 5]
    assert list(mmcv.ModulatedDeformConv2d(8, 6, 3, bias=False).state_dict()) == ["weight"]


@pytest.mark.parametrize("kind", PACKS)
def test_old_checkpoints_load(kind):
    """Their offsets' convolution stands beside the module, as conv2_offset."""
    block, old = torch.nn.Module(), torch.nn.Module()
    block.conv2, old.conv2 = kind(8, 6, 3), noisy(kind(8, 6, 3))
    state = {name.replace("conv2.conv_offset", "conv2_offset"): t for name, t in old.state_dict().items()}
    assert "conv2_offset.weight" in state
    block.load_state_dict(mmcv.with_new_names(block, state))
    for name, tensor in old.state_dict().items():
        assert torch.equal(block.state_dict()[name], tensor)
    assert list(mmcv.with_new_names(block, old.state_dict())) == list(old.state_dict())


@pytest.mark.parametrize("kind", PACKS)
def test_loaders_that_show_the_whole_checkpoint(kind):
    module = kind(8, 6, 3)
    state = {f"conv2.{name}": t for name, t in module.state_dict().items() if "offset" not in name}
    state |= {f"conv2_offset.{name}": t for name, t in module.conv_offset.state_dict().items()}
    module._load_from_state_dict(state, "conv2.", {}, True, [], [], [])
    assert {"conv2.conv_offset.weight", "conv2.conv_offset.bias"} < set(state)
    assert not any(name.startswith("conv2_offset") for name in state)


@pytest.mark.parametrize("kind", [*PLAIN, *MODULATED])
def test_the_old_name_of_deform_groups(kind):
    assert kind(8, 6, 3, deformable_groups=4).deform_groups == 4
    with pytest.raises(ValueError, match=f"{kind.__name__}: deform_groups must be given under one name"):
        kind(8, 6, 3, deform_groups=2, deformable_groups=4)


@pytest.mark.parametrize("size", [(2, 5), (2, 2), (5, 1)])
def test_inputs_smaller_than_the_kernel(backend, size):
    """Nothing but zeros lies where the kernel stands out."""
    module, (x, offset) = problem(mmcv.DeformConv2d, GEOMETRIES[0], size)
    assert relative_error(module(x, offset), expected(module, x, offset)) <= TOLERANCE


def test_offsets_stay_exact_under_autocast():
    module, (x, *_) = problem(mmcv.ModulatedDeformConv2dPack, GEOMETRIES[0])
    module.conv_offset.bias.data *= 50
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    assert relative_error(out, module(x)) <= OP[torch.bfloat16]


BAD = {
    "bias": (lambda: mmcv.DeformConv2d(8, 6, 3, bias=True), "DeformConv2d: bias must be False, got True"),
    "groups": (lambda: mmcv.DeformConv2d(8, 6, 3, groups=3), "in_channels must be a multiple of groups, got 8 and 3"),
    "deform_groups": (lambda: mmcv.DeformConv2d(8, 6, 3, deform_groups=3), "a multiple of deform_groups, got 8 and 3"),
    "out": (lambda: mmcv.DeformConv2d(8, 6, 3, groups=4), "out_channels must be a multiple of groups, got 6 and 4"),
    "offset": (lambda: mmcv.DeformConv2d(8, 6, 3)(draw(1, 8, 5, 5), draw(1, 9, 3, 3)),
               r"deform_conv2d: offset must have 2\*G\*K = 18 channels with G = 1 deform_groups"),
    "input": (lambda: mmcv.DeformConv2d(8, 6, 3, groups=2)(draw(1, 4, 5, 5), draw(1, 18, 3, 3)),
              r"input must have 8 channels with weight \[6, 4, 3, 3\] and groups 2, got \[1, 4, 5, 5\]"),
    "function": (lambda: mmcv.deform_conv2d(draw(1, 8, 5, 5), draw(1, 18, 3, 3), draw(6, 8, 3, 3), bias=True),
                 "deform_conv2d: bias must be False"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    run, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        run()
