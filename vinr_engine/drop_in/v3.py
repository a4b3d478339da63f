"""V3's query and its refining block, under its checkpoint's names."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine import reference
from vinr_engine.models.v3.checkpoint import FlaxCheckpoint
from vinr_engine.ops.checks import check, check_floating, check_rank, check_shape
from vinr_engine.ops.fourier_field import checked_size
from vinr_engine.ops.v3_query import v3_query

OP = "V3Query"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TIE = 1e-5  # a time halfway belongs to the earlier frame


class FlaxLinear(nn.Module):
    """A linear layer with its weight as flax keeps it, [in, out]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.kernel.t(), self.bias)


def field_parameters(axes: int, functions: int) -> Tensor:
    """Frequencies as training begins with them: up to 16 pi in space."""
    radius, angle, time = torch.pi * 16 * torch.rand(functions).sqrt(), *(2 * torch.pi * torch.rand(2, functions))
    return torch.stack([radius * angle.cos(), radius * angle.sin(), radius * time.cos()][:axes])


def times_of(frames: int, rate: int) -> Tensor:
    """(frames - 1) rate + 1 times, in frames from the first: what multiplies the frame rate by `rate`."""
    check(frames > 0 and rate > 0, OP, "frames and rate must be at least 1, got {} and {}", frames, rate)
    return torch.arange((frames - 1) * rate + 1, dtype=torch.float64) / rate


def nearest_frames(times: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Of each time its frame, and how far it lies from that."""
    index = (times.detach() - _TIE).round().clamp(0, frames - 1)
    return index.long(), times - index


class V3Query(nn.Module):
    """Pictures of any size at any times, from V3's features: what follows its encoder.

    Args:
        channels: of the features.
        functions: sines of a pixel's field.

    Parameters bear the checkpoint's names: `out_conv.kernel` [C, 4 D], `out_conv.bias`, `freqs` [3, D], `k`.
    """

    def __init__(self, channels: int = 256, functions: int = 512) -> None:
        super().__init__()
        self.out_conv = FlaxLinear(channels, 4 * functions)
        self.freqs = nn.Parameter(field_parameters(3, functions))
        self.k = nn.Parameter(torch.tensor(0.06))

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str]) -> V3Query:
        """With the parameters of a published checkpoint, whose pickle runs no code. Raises FileNotFoundError,
        CheckpointError."""
        state = FlaxCheckpoint(path).query("V3")
        query = cls(state["out_conv.kernel"].shape[0], state["freqs"].shape[1])
        query.load_state_dict(state)
        return query

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
        return pictures(
            features, frames, self.out_conv, self.freqs, self.k, size, (index, offset), MEAN, STD, clip=clip
        )


def pictures(
    features: Tensor,
    base: Tensor,
    head: FlaxLinear,
    frequencies: Tensor,
    k: Tensor,
    size: tuple[int, int],
    times: tuple[Tensor, Tensor] | None,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    inverse_square: float | None = None,
    clip: bool = True,
) -> Tensor:
    """The field times `std`, plus `mean` and `base` enlarged by nearest pixel.

    The deviation goes into the head's amplitudes, and mean and base are one picture, so that the query is all there is
    to do for an output pixel. `inverse_square` is 1 / s^2 of the scale s; by default of the areas.
    """
    size = checked_size("v3_query", size)
    wide = torch.float64 if features.dtype == torch.float64 else torch.float32
    D = frequencies.shape[1]
    deviation = torch.tensor(std, dtype=wide, device=features.device)
    factors = torch.cat([deviation.repeat(D), deviation.new_ones(D)])
    weight, bias = head.kernel.to(wide).t() * factors[:, None], head.bias.to(wide) * factors
    if inverse_square is None:
        inverse_square = features.shape[1] * features.shape[2] / (size[0] * size[1])
    damping = reference.field_damping(frequencies.to(wide), k.to(wide), inverse_square)
    if times is not None:
        times = times[0], times[1].to(wide)
    base = base.to(wide) + torch.tensor(mean, dtype=wide, device=base.device)
    out = v3_query(features, (weight, bias), frequencies.to(wide), damping, size, times, base)
    if not clip:
        return out
    return out.clamp(0, 1) if out.requires_grad else out.clamp_(0, 1)


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
