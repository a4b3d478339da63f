"""The encoder keeps its maps channels last: no operator gives another format, under autocast or not."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vinr_engine as vinr
from vinr_engine import backends

NF = 8  # frames and their motion have fewer channels, and any format
KINDS = {"published": {}, "residual": dict(residual=True, motion_prior=True)}


class Formats(TorchDispatchMode):
    """Notes which operators made a map of one of `sizes`, not a view of one, in another format; and how many did."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.others, self.made = sizes, [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dim() == 4 and tuple(out.shape[2:]) in self.sizes:
            # By its strides alone: of a batch of one, is_contiguous ignores a stride that operators go by.
            C, H, W = out.shape[1:]
            given = {t.untyped_storage().data_ptr() for t in tree_leaves(args) if isinstance(t, torch.Tensor)}
            if C >= NF and out.untyped_storage().data_ptr() not in given:
                self.made += 1
                if out.stride() != (C * H * W, 1, W * C, C):
                    self.others.append((func.name(), tuple(out.shape), out.stride()))
        return out


@pytest.mark.parametrize("low", [None, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(backends.extension().path is None, reason=backends.extension().error)
def test_every_map_of_the_encoder_is_channels_last(kind, batch, low):
    model = vinr.VideoINR(nf=NF, groups=2, front_blocks=1, back_blocks=1, **KINDS[kind])
    frames = torch.rand(batch, 2, 3, 12, 20)
    formats = Formats({(12, 20), (6, 10), (3, 5)})
    autocast = torch.autocast("cpu", low or torch.bfloat16, enabled=low is not None)
    with torch.inference_mode(), autocast, formats:
        features = model.encode(frames)
    assert formats.made > 100
    assert formats.others == []
    assert features.transpose(0, 1)[0].is_contiguous(memory_format=torch.channels_last)
