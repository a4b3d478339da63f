"""Operations and bytes of each case, by formula.

A multiply-add counts as two operations; sines, sampling and activations count as none, so that a rate compares with
that of a matrix product. Bytes are the least that any form must move: every input read once, every output written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

NF = 64
CHANNELS = 3 * NF  # of the three feature maps
COLOURS = 6  # of both frames
HR = 64
FEAT, FLOW, ENCODE = (64, 64, 256, HR), (64, 64, 256, 4), (64, 64, 256, 256, 3)
LIIF = (256, 256, 256, 256, 3)  # of the network that the sampled MLP is measured with
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """operations and bytes of one run."""

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)


def mlp_macs(inputs: int, widths: tuple[int, ...]) -> int:
    """Multiply-adds of a perceptron."""
    return sum(a * b for a, b in pairwise((inputs, *widths)))


def query_macs() -> int:
    """Multiply-adds a query in the published form."""
    sampled = CHANNELS + COLOURS
    return mlp_macs(sampled + 3, FEAT) + mlp_macs(HR + sampled + 1, FLOW) + mlp_macs(2 * (HR + sampled) + 1, ENCODE)


def hoisted_query_macs(frame_upsample: int) -> int:
    """Multiply-adds a query after hoisting; upsampled colours stay in the first layers, others fold into the maps."""
    colours = 0 if frame_upsample == 1 else COLOURS
    return mlp_macs(3, FEAT) + mlp_macs(HR + colours + 1, FLOW) + mlp_macs(2 * (HR + colours) + 1, ENCODE)


def projection_macs() -> int:
    """Multiply-adds a low-resolution pixel of projecting the maps: feat, flow, encode at A and at B."""
    return (CHANNELS + COLOURS) * (FEAT[0] + FLOW[0] + 2 * ENCODE[0])


def encoder_macs() -> float:
    """Multiply-adds a low-resolution pixel of the published encoder for one pair; a level is a quarter of the former.

    `c` is a 3x3 convolution 64 -> 64; the offset convolution has 216 outputs, 1x1 joins have 128 inputs.
    """
    c = 9 * NF * NF
    offset_mask, join = 9 * NF * 216, 2 * NF * NF
    level1 = 2 * c + 2 * c + c + offset_mask + c + 2 * c
    level3 = 2 * c + c + offset_mask + c
    fusion = 2 * (level1 * (1 + 1 / 4) + level3 / 16) + join
    pyramid = 2 * c / 4 + 2 * c / 16
    frame = 9 * 3 * NF + 5 * 2 * c + pyramid
    lstm_step = 2 * (2 * pyramid + fusion) + 8 * c
    return 2 * frame + fusion + 2 * 3 * lstm_step + 3 * join + 3 * 40 * 2 * c


def deform_conv2d(h: int, w: int, backward: bool) -> Work:
    """3x3, 64 -> 64, 8 offset groups; the gradient of the product is two products more."""
    groups, taps = 8, 9
    tensors = NF * h * w + 3 * groups * taps * h * w + NF * NF * taps  # input, offset and mask, weight
    macs, output = h * w * NF * NF * taps, NF * h * w
    if backward:
        return Work(3 * 2 * macs, FLOAT * (2 * tensors + 2 * output))
    return Work(2 * macs, FLOAT * (tensors + output))


def sampled_mlp(h: int, w: int, scale: int, backward: bool) -> Work:
    """h x w outputs of three colours, of maps that are smaller by `scale`, a position and four inputs each."""
    operations = 2 * mlp_macs(4, LIIF) * h * w
    return Work((3 if backward else 1) * operations, FLOAT * h * w * (2 + 4 + 3 + LIIF[0] / scale**2))


def query(h: int, w: int, scale: int, frames: int, hoisted: bool, frame_upsample: int = 4) -> Work:
    """`frames` output frames of one pair."""
    pixels = h * w * scale**2 * frames
    macs = hoisted_query_macs(frame_upsample) * pixels + projection_macs() * h * w if hoisted else query_macs() * pixels
    return Work(2 * macs, FLOAT * ((CHANNELS + COLOURS) * h * w + query_macs() + 3 * pixels))


def encoder(h: int, w: int) -> Work:
    """One pair. The published work, whichever form does it: saving work shows as a higher rate."""
    parameters = 11_300_000
    return Work(2 * encoder_macs() * h * w, FLOAT * ((COLOURS + CHANNELS) * h * w + parameters))


def query_step(h: int, w: int, scale: int, frames: int, hoisted: bool) -> Work:
    """Forward and backward, colours as on the training path; recomputed activations are not counted."""
    forward = query(h, w, scale, frames, hoisted, frame_upsample=1)
    return Work(3 * forward.operations, 2 * forward.bytes)


def training_step(h: int, w: int, scale: int, frames: int, batch: int, hoisted: bool) -> Work:
    """A step of the whole network on `batch` samples, each of one pair and `frames` targets."""
    forward = encoder(h, w)
    once = Work(3 * forward.operations, 2 * forward.bytes) + query_step(h, w, scale, frames, hoisted)
    return Work(batch * once.operations, batch * once.bytes)
