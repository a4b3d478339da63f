import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from ops.against_reference import assert_like_its_definition, on
from ops.bspline_head.samples import EMPTY, SAMPLES, Sample
from ops.bspline_head.test_op import gradients
from vinr_engine import reference
from vinr_engine.ops import bspline_head
from vinr_engine.ops.bspline_head import BSPLINE_HEAD, Arguments

QUICK = [*SAMPLES[:3], *SAMPLES[-2:], *EMPTY]
SLOW = [*SAMPLES[3:-2], Sample("several_tiles", shape=(2, 70), splines=40, each=True)]


@pytest.mark.parametrize(
    "sample", [*QUICK, *(pytest.param(s, marks=pytest.mark.slow) for s in SLOW)], ids=lambda s: s.name
)
def test_float32(device, sample):
    single, exact = on(device, sample.arguments(torch.float32, seed=5)), sample.arguments(seed=5)
    assert_like_its_definition(bspline_head, reference.bspline_head, gradients, single, exact)


def test_only_wanted_gradients(device):
    arguments, wanted = SAMPLES[1].arguments(torch.float32), (False, True, False, False, True, False)
    expected = gradients(arguments, reference.bspline_head, wanted)
    torch.testing.assert_close([d.cpu() for d in gradients(on(device, arguments), wanted=wanted)], list(expected))


@pytest.mark.slow
def test_opcheck(device):
    arguments = BSPLINE_HEAD.prepare("triton", Arguments(*on(device, SAMPLES[1].arguments(torch.float32))))
    leaves = [t.detach().requires_grad_() for t in arguments]
    torch.library.opcheck(torch.ops.vinr.bspline_head_triton.default, tuple(leaves))


def test_what_is_not_finite_shows_where_it_is(device):
    coef, knot, *others = on(device, Sample("two", shape=(1, 3), splines=17, layout="whole").arguments(torch.float32))
    knot[0, 1, 16] = torch.nan
    out = bspline_head(coef, knot, *others)
    assert (out.isnan().all(-1) == torch.tensor([False, True, False], device=device)).all()


def test_too_many_splines_are_refused(device):
    with pytest.raises(vinr.BackendError, match="it takes up to 1024 splines, got 1025"):
        bspline_head(*on(device, Sample("many", splines=1025).arguments(torch.float32)))
