"""V3's query and its refining block, under its checkpoint's names."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.v3.checkpoint import FlaxCheckpoint
from vinr_engine.models.v3.field import FieldQuery, FlaxLinear
from vinr_engine.ops.checks import check, check_floating, check_rank, check_shape

OP = "V3Query"
_TIE = 1e-5  # a time halfway belongs to the earlier frame


def times_of(frames: int, rate: int) -> Tensor:
    """(frames - 1) rate + 1 times, in frames from the first: what multiplies the frame rate by `rate`."""
    check(frames > 0 and rate > 0, OP, "frames and rate must be at least 1, got {} and {}", frames, rate)
    return torch.arange((frames - 1) * rate + 1, dtype=torch.float64) / rate


def nearest_frames(times: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Of each time its frame, and how far it lies from that."""
    index = (times.detach() - _TIE).round().clamp(0, frames - 1)
    return index.long(), times - index


class V3Query(FieldQuery):
    """Pictures of any size at any times, from V3's features: what follows its encoder.

    Parameters bear the checkpoint's names: `out_conv.kernel` [C, 4 D], `out_conv.bias`, `freqs` [3, D], `k`.
    """

    freqs: Tensor
    network = "V3"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, channels: int = 256, functions: int = 512) -> None:
        super().__init__(channels, functions)

    def forward(
        self,
        features: Tensor,
        frames: Tensor,
        size: tuple[int, int],
        times: Tensor | Sequence[float],
        *,
        clip: bool = True,
    ) -> Tensor:
        """Pictures [N, HH, WW, 3].

        Args:
            features: [T, h, w, C], what the encoder gives.
            frames: [T, h, w, 3] in [0, 1], what it saw, before mean and deviation were taken out.
            size: (HH, WW).
            times: N of them in [0, T - 1], in frames from the first; `times_of` makes those of a frame rate.
            clip: to [0, 1]; for training, do not.

        Raises ValueError: shapes, sizes or times that do not fit.
        """
        check_rank(OP, "features", features, "[T, h, w, C]")
        T, h, w, _ = features.shape
        check_shape(OP, "features", features, "[T, h, w, C]", (T, h, w, self.out_conv.kernel.shape[0]))
        check_shape(OP, "frames", frames, "[T, h, w, 3]", (T, h, w, 3))
        check_floating(OP, "frames", frames)
        check(T > 0, OP, "there must be frames, got {}", list(features.shape))
        if not torch.is_tensor(times):
            times = torch.tensor([float(t) for t in times], dtype=torch.float64)
        check_rank(OP, "times", times, "[N]")
        if not torch.compiler.is_compiling():  # a graph cannot look at numbers
            inside = bool(((times >= 0) & (times <= T - 1)).all())  # not of NaN
            check(inside, OP, "times must lie in [0, {}], got {}", T - 1, times)
        index, offset = nearest_frames(times.to(features.device).double(), T)
        return self.pictures(features, frames, size, (index, offset), clip=clip)


class _Kernel(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, channels, channels) * (27 * channels) ** -0.5)


class _Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))


class _NormLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.LayerNorm_0 = _Norm(channels)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers_0 = _Kernel(channels)
        self.layers_1 = _NormLayer(channels)
        self.layers_2 = FlaxLinear(channels, 4 * channels)
        self.layers_4 = FlaxLinear(4 * channels, channels)


class V3Refine(nn.Module):
    """V3's refining block, the last of its encoder: a 3x3x3 convolution, a norm and two linear layers, added.

    Parameters bear the checkpoint's names from `refine.layers_0.` on, such as `residual.layers_0.kernel`.
    """

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.residual = _Residual(channels)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str]) -> V3Refine:
        """See `V3Query.from_checkpoint`."""
        state = FlaxCheckpoint(path).refine()
        block = cls(state["residual.layers_0.kernel"].shape[-1])
        block.load_state_dict(state)
        return block

    def forward(self, x: Tensor) -> Tensor:
        """[T, h, w, C] or [B, T, h, w, C] -> the same."""
        kernel, channels = self.residual.layers_0.kernel, self.residual.layers_0.kernel.shape[-1]
        check(x.dim() in (4, 5), "V3Refine", "x must be [T, h, w, C] or [B, T, h, w, C], got {}", list(x.shape))
        check(x.shape[-1] == channels, "V3Refine", "x must have {} channels, got {}", channels, x.shape[-1])
        volume = x if x.dim() == 5 else x[None]
        near = F.conv3d(volume.movedim(-1, 1), kernel.permute(4, 3, 0, 1, 2), padding=1).movedim(1, -1)
        norm = self.residual.layers_1.LayerNorm_0
        # Frame by frame: what lies between the linear layers is four times as wide.
        frames = []
        for frame in near.flatten(0, 1):
            hidden = F.layer_norm(frame, (x.shape[-1],), norm.scale, norm.bias, 1e-6)
            frames.append(self.residual.layers_4(F.gelu(self.residual.layers_2(hidden), approximate="tanh")))
        return x + torch.stack(frames).view_as(x) if frames else x.clone()
