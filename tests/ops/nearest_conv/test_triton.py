import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from ops.against_reference import assert_like_its_definition, on
from ops.nearest_conv.samples import EMPTY, ENLARGED, Sample
from ops.nearest_conv.test_op import from_table, gradients
from vinr_engine import reference
from vinr_engine.ops import nearest_conv
from vinr_engine.reference.nearest import nearest_index

TINY = [
    Sample("tiny", batch=2, channels=(3, 5), size=(2, 3), enlarged=(5, 6)),
    Sample("tiny_below_2", batch=1, channels=(2, 2), size=(3, 4), enlarged=(4, 7), biased=False),
    *EMPTY,
]
SLOW = [*ENLARGED, Sample("wide", channels=(4, 70), size=(6, 9), enlarged=(24, 36), layout="nhwc")]
every = pytest.mark.parametrize(
    "sample", [*TINY, *(pytest.param(s, marks=pytest.mark.slow) for s in SLOW)], ids=lambda s: s.name
)


@every
@pytest.mark.parametrize("function", [nearest_conv, from_table])
def test_float32(device, sample, function):
    single, exact = on(device, sample.arguments(torch.float32, seed=5)), sample.arguments(seed=5)
    assert_like_its_definition(function, reference.nearest_conv, gradients, single, exact)


@pytest.mark.slow
def test_opcheck(device):
    x, weight, bias, size = on(device, TINY[0].arguments(torch.float32))
    x, weight = x.permute(0, 2, 3, 1), weight.permute(2, 3, 0, 1)
    axes = [nearest_index(out, n, x.device) for out, n in zip(size, x.shape[1:3], strict=True)]
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
    torch.library.opcheck(torch.ops.vinr.nearest_conv_triton.default, (*leaves, *axes))
    torch.library.opcheck(torch.ops.vinr.nearest_conv_table_triton.default, (*leaves, [1, 0, 2], [1, 2]))


def test_float64_is_refused(device):
    with pytest.raises(vinr.BackendError, match="it takes float32, float16 and bfloat16 tensors, got"):
        nearest_conv(*on(device, TINY[0].arguments()))
