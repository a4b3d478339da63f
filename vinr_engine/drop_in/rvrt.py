"""The function of RVRT's extension for guided deformable attention, for projects whose extension does not compile.

from vinr_engine.drop_in.rvrt import deform_attn
"""

from __future__ import annotations

from torch import Tensor

from vinr_engine.ops.checks import check
from vinr_engine.ops.deform_attention import deform_attention

OP = "deform_attn"


def deform_attn(
    q: Tensor,
    kv: Tensor,
    offset: Tensor,
    kernel_h: int = 3,
    kernel_w: int = 3,
    stride_h: int = 1,
    stride_w: int = 1,
    pad_h: int = 1,
    pad_w: int = 1,
    dilation_h: int = 1,
    dilation_w: int = 1,
    attn_head: int = 1,
    deform_group: int = 1,
    clip_size: int = 1,
    *,
    keys_gradient_scaled_twice: bool = False,
) -> Tensor:
    """`vinr_engine.ops.deform_attention` under the arguments of RVRT's extension.

    Args:
        q: [B c, 1, C, h, w]; c is `clip_size`, the frames of a clip.
        kv: [B, c, 2 C, h, w], or its frames in turn, [B c, 2 C, h, w].
        offset: [B c, c 2 G K, h, w], (dy, dx) of each frame, group and tap; G is `deform_group`, K the taps.
        kernel_h .. dilation_w: those that keep the size of an image, with strides and dilations of 1.
        keys_gradient_scaled_twice: see `vinr_engine.ops.deform_attention`.

    Returns:
        [B c, 1, C, h, w]

    Raises ValueError: a stride or dilation other than 1, a padding that changes the size, shapes that do not fit.
    """
    for name, y, x in (("stride", stride_h, stride_w), ("dilation", dilation_h, dilation_w)):
        check(y == x == 1, OP, "{}_h and {}_w must be 1, got {} and {}", name, name, y, x)
    check(clip_size > 0, OP, "clip_size must be positive, got {}", clip_size)
    if kv.dim() == 4:
        check(kv.shape[0] % clip_size == 0, OP, "kv must have a multiple of clip_size = {} frames, got {}", clip_size,
              list(kv.shape))  # fmt: skip
        kv = kv.unflatten(0, (-1, clip_size))
    check(kv.dim() == 5 and kv.shape[1] == clip_size, OP, "kv must be [B, clip_size, 2 C, h, w] with clip_size = {}, "
          "got {}", clip_size, list(kv.shape))  # fmt: skip
    return deform_attention(
        q, kv, offset, attn_head, deform_group, (kernel_h, kernel_w), (pad_h, pad_w),
        keys_gradient_scaled_twice=keys_gradient_scaled_twice,
    )  # fmt: skip
