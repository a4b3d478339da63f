"""The encoder as published, step by step on named parameters: no shared work, no split convolution, no batching.

The mathematics is described in docs/network.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.deform_conv2d import deform_conv2d as reference_deform_conv2d

Pyramid = tuple[Tensor, Tensor, Tensor]


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class _Layers:
    """The parameters whose names start with `prefix`, and the layers they make."""

    def __init__(
        self, parameters: Mapping[str, Tensor], deform_conv2d: Callable[..., Tensor], prefix: str = ""
    ) -> None:
        self.parameters, self.deform_conv2d, self.prefix = parameters, deform_conv2d, prefix

    def under(self, name: str) -> _Layers:
        return _Layers(self.parameters, self.deform_conv2d, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.parameters[self.prefix + name]

    def conv(self, name: str, *inputs: Tensor, stride: int = 1) -> Tensor:
        """The convolution `name` of the joined inputs."""
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
        weight = self[name + ".weight"]
        return F.conv2d(x, weight, self[name + ".bias"], stride, padding=weight.shape[-1] // 2)

    def dcnpack(self, name: str, x: Tensor, guide: Tensor) -> Tensor:
        """Deformable convolution of x with offsets and masks that `guide` gives."""
        raw = self.conv(name + ".conv_offset_mask", guide)
        offset, mask = raw.split([raw.shape[1] // 3 * 2, raw.shape[1] // 3], 1)
        return self.deform_conv2d(
            x, offset, self[name + ".weight"], self[name + ".bias"], padding=(1, 1), mask=mask.sigmoid()
        )

    def residual_blocks(self, name: str, x: Tensor) -> Tensor:
        pattern = re.compile(re.escape(f"{self.prefix}{name}.") + r"(\d+)\.")
        for i in range(len({m[1] for key in self.parameters if (m := pattern.match(key))})):
            x = x + self.conv(f"{name}.{i}.conv2", F.relu(self.conv(f"{name}.{i}.conv1", x)))
        return x


def _pyramid(p: _Layers, level1: Tensor) -> Pyramid:
    level2 = lrelu(p.conv("fea_L2_conv2", lrelu(p.conv("fea_L2_conv1", level1, stride=2))))
    level3 = lrelu(p.conv("fea_L3_conv2", lrelu(p.conv("fea_L3_conv1", level2, stride=2))))
    return level1, level2, level3


def _align(p: _Layers, F_: Pyramid, R: Pyramid, s: str) -> Tensor:
    """Target F_ moved towards guide R by the parameters with suffix s."""
    o3 = lrelu(p.conv("L3_offset_conv2" + s, lrelu(p.conv("L3_offset_conv1" + s, F_[2], R[2]))))
    f3 = lrelu(p.dcnpack("L3_dcnpack" + s, F_[2], o3))
    o2 = lrelu(p.conv("L2_offset_conv1" + s, F_[1], R[1]))
    o2 = lrelu(p.conv("L2_offset_conv2" + s, o2, 2 * up(o3)))
    o2 = lrelu(p.conv("L2_offset_conv3" + s, o2))
    f2 = p.dcnpack("L2_dcnpack" + s, F_[1], o2)
    f2 = lrelu(p.conv("L2_fea_conv" + s, f2, up(f3)))
    o1 = lrelu(p.conv("L1_offset_conv1" + s, F_[0], R[0]))
    o1 = lrelu(p.conv("L1_offset_conv2" + s, o1, 2 * up(o2)))
    o1 = lrelu(p.conv("L1_offset_conv3" + s, o1))
    f1 = p.dcnpack("L1_dcnpack" + s, F_[0], o1)
    return p.conv("L1_fea_conv" + s, f1, up(f2))


def _pcd_fusion(p: _Layers, P: Pyramid, Q: Pyramid) -> Tensor:
    align = p.under("pcd_align")
    return p.conv("fusion", _align(align, P, Q, "_1"), _align(align, Q, P, "_2"))


def _lstm(p: _Layers, sequence: Sequence[Tensor]) -> list[Tensor]:
    h = c = torch.zeros_like(sequence[0])
    outputs = []
    for x in sequence:
        fused = [
            _pcd_fusion(q, _pyramid(q, x), _pyramid(q, s)) for q, s in ((p.under("pcd_h"), h), (p.under("pcd_c"), c))
        ]
        i, f, o, g = p.conv("cell_list.0.conv", x, fused[0]).chunk(4, 1)
        c = f.sigmoid() * fused[1] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return outputs


def encoder(
    parameters: Mapping[str, Tensor],
    frames: Tensor,
    deform_conv2d: Callable[..., Tensor] = reference_deform_conv2d,
) -> Tensor:
    """`VideoINR.encode` on `dict(model.named_parameters())`: frames [B, 2, 3, h, w] -> [B, 3, nf, ceil4(h), ceil4(w)].

    `deform_conv2d` is called as torchvision's. Convolutions run on contiguous tensors, as the published code's do;
    parameters in another memory format are copied first.
    """
    p = _Layers({name: tensor.contiguous() for name, tensor in parameters.items()}, deform_conv2d)
    pyramids = []
    for frame in frames.unbind(1):
        frame = F.pad(frame, (0, -frame.shape[3] % 4, 0, -frame.shape[2] % 4), mode="replicate").contiguous()
        pyramids.append(_pyramid(p, p.residual_blocks("feature_extraction", lrelu(p.conv("conv_first", frame)))))
    first, second = pyramids
    sequence = [first[0], _pcd_fusion(p, first, second), second[0]]
    net = p.under("ConvBLSTM.forward_net")
    forth, back = _lstm(net, sequence), _lstm(net, sequence[::-1])[::-1]
    joined = [p.conv("ConvBLSTM.conv_1x1", *pair) for pair in zip(forth, back, strict=True)]
    return torch.stack([p.residual_blocks("recon_trunk", x) for x in joined], 1)
