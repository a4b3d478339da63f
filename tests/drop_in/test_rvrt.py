import pytest
import torch

from ops.deform_attention.test_op import GOLDEN
from vinr_engine.drop_in.rvrt import deform_attn

GEOMETRY = (3, 3, 1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize("flat", [False, True])
def test_golden(backend, flat):
    a = GOLDEN["rvrt"]
    kv = a["kv"].flatten(0, 1) if flat else a["kv"]
    tensors = [t.requires_grad_() for t in (a["q"], kv, a["offset"])]
    out = deform_attn(*tensors, *GEOMETRY, int(a["heads"]), int(a["groups"]), 2)
    assert (out - a["out"]).abs().max() <= 1e-9
    grads = torch.autograd.grad(out, tensors, a["grad"])
    for name, found in zip(("q", "kv", "offset"), grads, strict=True):
        torch.testing.assert_close(found.reshape(a[name].shape), a[f"grad:{name}"], rtol=0, atol=1e-9)


def test_gradients_of_the_published_extension(backend):
    a = GOLDEN["one_frame"]
    tensors = [a[name].requires_grad_() for name in ("q", "kv", "offset")]
    out = deform_attn(*tensors, *GEOMETRY, 2, 1, 1, keys_gradient_scaled_twice=True)
    d_q, d_kv, _ = torch.autograd.grad(out, tensors, a["grad"])
    torch.testing.assert_close(d_q, a["grad:q"], rtol=0, atol=1e-9)
    torch.testing.assert_close(d_kv[:, :, :8], a["grad:kv"][:, :, :8] / 2, rtol=0, atol=1e-9)


BAD = {
    "stride": ((3, 3, 2, 1, 1, 1, 1, 1, 4, 4, 2), "stride_h and stride_w must be 1, got 2 and 1"),
    "dilation": ((3, 3, 1, 1, 1, 1, 1, 2, 4, 4, 2), "dilation_h and dilation_w must be 1, got 1 and 2"),
    "padding": ((3, 3, 1, 1, 0, 1, 1, 1, 4, 4, 2), r"kernel_size must be 2 padding \+ 1"),
    "clip": ((*GEOMETRY, 4, 4, 3), r"kv must be \[B, clip_size, 2 C, h, w\] with clip_size = 3"),
    "no_clip": ((*GEOMETRY, 4, 4, 0), "clip_size must be positive, got 0"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments(what):
    arguments, message = BAD[what]
    a = GOLDEN["rvrt"]
    with pytest.raises(ValueError, match=f"deform_att.*: {message}"):
        deform_attn(a["q"], a["kv"], a["offset"], *arguments)


def test_frames_in_turn_must_be_whole_clips():
    a = GOLDEN["rvrt"]
    with pytest.raises(ValueError, match="kv must have a multiple of clip_size = 3 frames"):
        deform_attn(a["q"], a["kv"].flatten(0, 1), a["offset"], *GEOMETRY, 4, 4, 3)
