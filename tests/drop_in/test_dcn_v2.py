import pytest
import torch
import torch.nn.functional as F

import vinr_engine as vinr
from benchmarks.tolerances import OP, relative_error
from vinr_engine import reference
from vinr_engine.drop_in.dcn_v2 import DCN, DCN_sep, DCNv2, dcn_v2_conv

TOLERANCE = OP[torch.float32]


def draw(*shape, scale=1.0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 2 - 1) * scale


def noisy(module):
    for i, parameter in enumerate(module.parameters()):
        parameter.data = draw(*parameter.shape, scale=0.2 + 0.01 * i)
    return module


@pytest.mark.parametrize("geometry", [(1, 1, 1), (2, 1, 1), (1, 2, 2), ((1, 2), (1, 0), (1, 1))])
def test_dcn_v2_is_the_reference(backend, geometry):
    module = noisy(DCNv2(8, 6, (3, 3), *geometry, deformable_groups=4))
    input = draw(2, 8, 9, 10)
    H, W = F.conv2d(input, module.weight, None, *geometry).shape[2:]
    offset, mask = draw(2, 72, H, W, scale=2.0), draw(2, 36, H, W).sigmoid()
    pairs = module.stride, module.padding, module.dilation
    expected = reference.deform_conv2d(*(t.double() for t in (input, offset, module.weight, module.bias)), *pairs, mask)
    assert relative_error(module(input, offset, mask), expected) <= TOLERANCE
    actual = dcn_v2_conv(input, offset, mask, module.weight, module.bias, *geometry, 4)
    assert relative_error(actual, expected) <= TOLERANCE
    torch.testing.assert_close(
        actual, vinr.ops.deform_conv2d(input, offset, module.weight, module.bias, *geometry, mask)
    )


@pytest.mark.parametrize("geometry", [(1, 1, 1), (2, 1, 1), (1, 2, 2)])
def test_offsets_come_from_the_right_input(backend, geometry):
    input, fea = draw(2, 8, 9, 10), draw(2, 8, 9, 10, scale=0.5)
    for kind, guide, arguments in ((DCN, input, (input,)), (DCN_sep, fea, (input, fea))):
        module = noisy(kind(8, 6, 3, *geometry, deformable_groups=2))
        offset_y_x, mask = module.conv_offset_mask(guide).split([36, 18], 1)
        expected = module_of(module)(input, offset_y_x, mask.sigmoid())
        assert relative_error(module(*arguments), expected) <= TOLERANCE


def module_of(module):
    """A DCNv2 with the parameters of `module`."""
    plain = DCNv2(8, 6, 3, module.stride, module.padding, module.dilation, module.deformable_groups)
    plain.load_state_dict({k: v for k, v in module.state_dict().items() if "offset" not in k})
    return plain


def test_new_modules_are_half_a_convolution(backend):
    input = draw(1, 8, 7, 6)
    module = DCN(8, 6, kernel_size=3, stride=1, padding=1, deformable_groups=2)
    assert relative_error(module(input), F.conv2d(input, module.weight / 2, module.bias, padding=1)) <= TOLERANCE
    module = DCN_sep(8, 6, 3, 1, 1, deformable_groups=2)
    assert relative_error(module(input, input), F.conv2d(input, module.weight / 2, None, padding=1)) <= TOLERANCE


def test_parameter_names():
    names = ["weight", "bias", "conv_offset_mask.weight", "conv_offset_mask.bias"]
    assert list(DCNv2(8, 6, 3, 1, 1).state_dict()) == names[:2]
    for kind in (DCN, DCN_sep):
        state = kind(8, 6, (3, 5), stride=1, padding=1, dilation=1, deformable_groups=4).state_dict()
        assert list(state) == names
        assert list(state["weight"].shape) == [6, 8, 3, 5]
        assert list(state["conv_offset_mask.weight"].shape) == [3 * 4 * 15, 8, 3, 5]
        assert not state["conv_offset_mask.weight"].any()


def test_gradients_reach_every_parameter(backend):
    module = noisy(DCN_sep(8, 6, 3, 1, 1, deformable_groups=2))
    input, fea = draw(1, 8, 5, 6).requires_grad_(), draw(1, 8, 5, 6).requires_grad_()
    module(input, fea).square().sum().backward()
    assert all(t.grad.any() for t in (input, fea, *module.parameters()))


def test_autocast_keeps_offsets():
    module = noisy(DCN(8, 6, 3, 1, 1, deformable_groups=2))
    module.conv_offset_mask.bias.data += 3.3  # offsets that bfloat16 would round visibly
    input = draw(1, 8, 9, 10).to(torch.bfloat16).float()
    expected = module(input)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(input)
    assert out.dtype == torch.bfloat16
    assert relative_error(out, expected) <= OP[torch.bfloat16]


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"DCN: in_channels must be a multiple of deformable_groups, got 8 and 3"):
        DCN(8, 6, 3, 1, 1, deformable_groups=3)
    module = DCNv2(8, 6, 3, 1, 1, deformable_groups=2)
    message = r"dcn_v2_conv: offset must have 2\*G\*K = 36 channels with G = 2 deformable groups and K = 9 taps, got"
    with pytest.raises(ValueError, match=message):
        module(draw(1, 8, 5, 6), draw(1, 18, 5, 6), draw(1, 9, 5, 6))
