"""FlowINR by bands of rows: what `known` and `query` compute, for one pair, without whole maps between their layers.

Whole are only what the network keeps of a frame, the velocity and what is made of it at the frame's size: frames are
read wherever motion points. See `vinr_engine.models.layers.rows`.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.memory import Need
from vinr_engine.models.flowinr.enlarge import (
    CONTRAST_SIDE,
    MEAN_SIDE,
    ROUNDING,
    Decoder,
    Enlarger,
    Functions,
    base,
    contrast,
    without_mean,
)
from vinr_engine.models.flowinr.merge import KnownFrame, Merge
from vinr_engine.models.flowinr.motion import (
    CARRIED,
    COARSEST,
    FEATURE_FLOOR,
    FINEST,
    SHARPNESS,
    Motion,
    MotionPyramid,
    MotionStep,
    candidates,
)
from vinr_engine.models.layers.blocks import padding_to_multiple
from vinr_engine.models.layers.rows import Neighbours, ResidualRows, convolve_rows, new_buffer, take_bands
from vinr_engine.models.layers.warped_blend import warp
from vinr_engine.models.network import Size
from vinr_engine.ops import local_correlation
from vinr_engine.ops.phase_linear import phase_linear

PIXELS = 1 << 16
"""About, of a band: enough to keep cores and vectors busy, few enough for the caches to hold a good part of it."""
PIXELS_OF_A_GPU = 1 << 20
WHOLE_NUMBERS = 14
"""Of an input pixel, beside what is kept of frames: velocities, and the flow to be enlarged."""
BAND_NUMBERS, BAND_OUTPUT_NUMBERS = 600, 28
"""Of an input pixel and of an output pixel of a band, measured."""
LARGE_TABLE = 1 << 24
"""Numbers of a decoder's functions for all rows of a period, from which on they are made row by row."""


def pixels_of(device: torch.device) -> int:
    """Of a band, about."""
    return PIXELS if device.type == "cpu" else PIXELS_OF_A_GPU


def rows_of(frames: Size, device: torch.device) -> int:
    """Of a band, for frames of a size."""
    return max(1, pixels_of(device) // frames[1])


def need(nf: int, widths: list[int], frames: Size, size: Size, device: torch.device) -> Need:
    """What FlowINR takes, see `Network`; of what comes and goes, most is a band's, and measured on CPUs."""
    h, w = frames
    pixels, out = h * w, size[0] * size[1]
    of_levels = sum(width / 4 ** (k + 1) for k, width in enumerate(widths))
    frame = 4 * (int((4 + nf + of_levels) * pixels) + 3 * out)
    band = min(pixels, pixels_of(device))
    return Need(
        frame, 0, 4 * (WHOLE_NUMBERS * pixels + BAND_NUMBERS * band + BAND_OUTPUT_NUMBERS * band * out // pixels)
    )


def wanted(frame: Tensor, decoder: Decoder, size: Size | None) -> bool:
    """Whether a frame [B, 3, h, w] is better computed in bands, for pictures of `size`."""
    h, w = frame.shape[-2:]
    if len(frame) != 1 or not take_bands():
        return False
    if rows_of((h, w), frame.device) < h:
        return True
    return size is not None and Functions.numbers(decoder, (h, w), size) > LARGE_TABLE


def new_picture(like: Tensor, size: Size) -> Tensor:
    """[1, 3, HH, WW], uninitialised, in memory that earlier pictures left."""
    return new_buffer(like, size[1], 3, size[0]).permute(0, 2, 3, 1)


def enlarged_base(frame: Tensor, size: Size) -> Tensor:
    """`base` in memory that earlier pictures left."""
    h, w = frame.shape[-2:]
    if size[0] < h or size[1] < w:
        return base(frame, size)
    out = new_picture(frame, size)
    with torch.autocast(frame.device.type, enabled=False):
        torch.ops.aten.upsample_bicubic2d.out(frame, list(size), False, None, None, out=out)
    return out


def output_rows(first: int, last: int, h: int, H: int) -> tuple[int, int]:
    """First and last of H rows whose centres lie in the rows `first` to `last` of h."""
    begin, end = (max(0, -((h - 2 * H * row) // (2 * h))) for row in (first, last))
    return begin, min(end, H)


def bilinear_rows(maps: Tensor, first: int, last: int, size: Size) -> Tensor:
    """Rows of maps [1, C, h, w], enlarged to `size` as `F.interpolate` does, bilinear."""
    h = maps.shape[2]
    at = ((torch.arange(first, last, dtype=torch.float64, device=maps.device) + 0.5) * h / size[0] - 0.5).clamp(min=0)
    low = at.long().clamp(max=h - 1)
    share = (at - low).to(maps.dtype)[:, None]
    mixed = torch.lerp(maps.index_select(2, low), maps.index_select(2, (low + 1).clamp(max=h - 1)), share)
    return F.interpolate(mixed, (last - first, size[1]), mode="bilinear", align_corners=False)


class DecodedRows:
    """A decoder's last layer for rows of its projected features."""

    def __init__(self, decoder: Decoder, frames: Size, size: Size) -> None:
        self.frames, self.size = frames, size
        self._functions = Functions(decoder, frames, size)
        small = Functions.numbers(decoder, frames, size) <= LARGE_TABLE
        self._table = self._functions.of_rows(0, self._functions.periods[0]) if small else None

    def __call__(self, projected: Tensor, first: int, out: Tensor) -> None:
        """Add to `out`, the rows [1, 3, _, WW] of the picture in `projected` [1, nf, _, w], rows from `first` on."""
        h, H = self.frames[0], self.size[0]
        if H % h == 0 and self._table is not None:
            out.copy_(phase_linear(projected, self._table, (out.shape[2], self.size[1]), out))
            return
        begin = output_rows(first, first, h, H)[0]
        for row in range(projected.shape[2]):
            low, high = output_rows(first + row, first + row + 1, h, H)
            if high > low:
                own = out[:, :, low - begin : high - begin]
                size = (high - low, self.size[1])
                own.copy_(phase_linear(projected[:, :, row : row + 1], self._of(low, high), size, own))

    def _of(self, first: int, last: int) -> Tensor:
        """The functions of some rows, which lie in one period: a period ends where an input row does."""
        period = self._functions.periods[0]
        first, last = first % period, (last - 1) % period + 1
        return self._functions.of_rows(first, last) if self._table is None else self._table[first:last]


def detail_and_contrast(frame: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """`without_mean` of a frame [1, 3, h, w], channels-last, and its `contrast`."""
    h, w = frame.shape[-2:]
    detail = new_buffer(frame, 3, h, w)
    local = frame.new_empty(1, 1, h, w)
    far = MEAN_SIDE // 2
    for y in range(0, h, rows):
        top, end = max(0, y - far), min(h, y + rows)
        detail[:, :, y:end] = without_mean(frame[:, :, top : end + far])[:, :, y - top : end - top]
    far = CONTRAST_SIDE // 2
    for y in range(0, h, rows):
        top, end = max(0, y - far), min(h, y + rows)
        local[:, :, y:end] = contrast(detail[:, :, top : end + far])[:, :, y - top : end - top]
    return detail, local


def features_and_picture(
    enlarger: Enlarger, detail: Tensor, local: Tensor, rows: int, picture: Tensor | None
) -> Tensor:
    """What `Enlarger` makes of both; and `picture` [1, 3, HH, WW], if it is given, gets what the decoder adds."""
    h, w = detail.shape[-2:]
    nf = enlarger.tail.out_channels
    features = new_buffer(detail, nf, h, w)
    tail, project = Neighbours(1, h), Neighbours(1, h)
    body = ResidualRows(enlarger.body, h, tail)
    x, *spare = (new_buffer(detail, nf, min(h, rows + body.delay) + 4, w) for _ in range(3))
    decoded = None if picture is None else DecodedRows(enlarger.decoder, (h, w), (picture.shape[2], picture.shape[3]))
    for y in range(0, h, rows):
        new = features[:, :, y : y + rows]  # until the tail adds to it, where the last layer finds it
        convolve_rows(enlarger.head, detail, y, new)
        body.entry.room(x, new.shape[2]).copy_(new)
        made, count = body(x, new.shape[2], (spare[0], spare[1]))
        if count == 0:
            continue
        begin = tail.done
        window, first, last = tail.advance(made, count)
        own = features[:, :, begin : begin + last - first]
        if last > first:
            convolve_rows(enlarger.tail, window, first, own, add=own)
            energy = local[:, :, begin : tail.done].square()
            own.mul_(energy / (energy + ROUNDING**2))
        if picture is not None and decoded is not None and last > first:
            begin, top = project.done, project.top
            window, first, last = project.advance(features[:, :, top:], last - first)
            _decode(enlarger.decoder, decoded, window, first, last, begin, spare[0], picture)
    return features


def _decode(
    decoder: Decoder, decoded: DecodedRows, window: Tensor, first: int, last: int, begin: int, spare: Tensor,
    picture: Tensor,
) -> None:  # fmt: skip
    """Add to the picture what rows `first` to `last` of the window say, the first of which is the map's row `begin`."""
    count = last - first
    low, high = output_rows(begin, begin + count, decoded.frames[0], decoded.size[0])
    if high > low:
        projected = spare[:, :, :count]
        convolve_rows(decoder.project, window, first, projected)
        decoded(projected, begin, picture[:, :, low:high])


def levels(pyramid: MotionPyramid, frame: Tensor, detail: Tensor, rows: int) -> list[Tensor]:
    """What `MotionPyramid` makes of both."""
    h, w = frame.shape[-2:]
    _, right, _, below = padding_to_multiple(h, w, COARSEST)
    found: list[Tensor] = []
    x: Tensor | None = None
    for number, layers in enumerate(zip(pyramid.shrink, pyramid.refine, strict=True)):
        shrink, refine = cast("tuple[nn.Conv2d, nn.Conv2d]", layers)
        height, width = (h + below) >> (number + 1), (w + right) >> (number + 1)
        level = new_buffer(frame, refine.out_channels, height, width)
        for y in range(0, height, rows):
            # one row more on either side for the second layer, and for them one of the level before for the first
            first, last = max(0, y - 1), min(height, y + rows + 1)
            top = 2 * first - 1
            if x is None:
                part = _pyramid_input(frame, detail, max(0, top), 2 * last, right, below)
            else:
                part = x[:, :, max(0, top) : 2 * last]
            part = F.pad(part, (1, 1, int(top < 0), 0)).contiguous(memory_format=torch.channels_last)
            part = F.leaky_relu(F.conv2d(part, shrink.weight, shrink.bias, 2), 0.1)
            convolve_rows(refine, part.to(level.dtype), y - first, level[:, :, y : y + rows], slope=0.1)
        x = level
        found.append(level)
    for level in found:
        for y in range(0, level.shape[2], rows):
            part = level[:, :, y : y + rows]
            part.div_(part.square().mean(1, keepdim=True).sqrt_().add_(FEATURE_FLOOR))
    return found


def _pyramid_input(frame: Tensor, detail: Tensor, first: int, last: int, right: int, below: int) -> Tensor:
    h = frame.shape[2]
    part = torch.cat([10 * detail[:, :, first:last], 2 * frame[:, :, first:last] - 1], 1)
    return F.pad(part, (0, right, 0, max(0, last - max(h, first)))) if right or below else part


def velocities(motion: Motion, first: list[Tensor], second: list[Tensor], times: Tensor, rows: int) -> Tensor:
    """What `Motion` finds at the finest level."""
    velocity = torch.zeros_like(first[-1][:, :2], memory_format=torch.contiguous_format)
    carried = None
    for number in reversed(range(len(first))):
        if number < len(first) - 1:
            velocity = 2 * F.interpolate(velocity, scale_factor=2, mode="bilinear", align_corners=False)
        step = cast("MotionStep", motion.steps[number])
        velocity, carried = _step(step, first[number], second[number], times, velocity, carried, rows, number > 0)
    return velocity


def _step(
    step: MotionStep, first: Tensor, second: Tensor, times: Tensor, velocity: Tensor, carried: Tensor | None, rows: int,
    carries: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """As `MotionStep`, but that it enlarges what was carried on itself, and carries on only if it is asked to."""
    C, h, w = first.shape[1:]
    t = times.to(velocity.dtype)[:, None, None, None]
    kept = [Neighbours(step.radius, h) for _ in range(2)]
    judge, one, two, three = (Neighbours(1, h) for _ in range(4))
    count, inputs = step.judge.out_channels, step.conv1.in_channels
    room = min(h, rows + step.radius + 4) + 4
    moved = [new_buffer(first, C, min(h, rows) + 2 * step.radius, w) for _ in range(2)]
    matches, known, middle, last_in = (
        new_buffer(first, channels, room, w)
        for channels in (count, inputs, step.conv1.out_channels, step.conv2.out_channels)
    )
    found = velocity.clone()
    carried_on = new_buffer(first, CARRIED, h, w) if carries else None
    for y in range(0, h, rows):
        v = velocity[:, :, y : y + rows]
        for own, image, buffer, way in zip(kept, (first, second), moved, (-t, 1 - t), strict=True):
            own.room(buffer, v.shape[2]).copy_(warp(image, way * v, y))
        top = kept[0].top
        (a, begin, end), (b, _, _) = (own.advance(buffer, v.shape[2]) for own, buffer in zip(kept, moved, strict=True))
        if end == begin:
            continue
        judge.room(matches, end - begin).copy_(local_correlation(a, b, times, step.radius)[:, :, begin:end])
        at = judge.done
        window, begin, end = judge.advance(matches, end - begin)
        if end == begin:
            continue
        place, own_matches = slice(at, at + end - begin), window[:, :, begin:end]
        sums = new_buffer(first, count, end - begin, w)
        convolve_rows(step.judge, window, begin, sums, add=own_matches)
        shares = sums.mul_(SHARPNESS).softmax(1)
        guess = F.conv2d(shares, candidates(step.radius, shares)[..., None, None])
        inside = one.room(known, end - begin)
        parts = [own_matches, *(m[:, :, at - top : at - top + end - begin] for m in (a, b)), velocity[:, :, place] / 4,
                 guess / 4, shares.amax(1, keepdim=True), t.expand(1, 1, end - begin, w)]  # fmt: skip
        if carried is not None:
            parts.append(bilinear_rows(carried, place.start, place.stop, (h, w)))
        channel = 0
        for part in parts:
            inside[:, channel : channel + part.shape[1]] = part
            channel += part.shape[1]
        found[:, :, place] += guess
        window, begin, end = one.advance(known, end - begin)
        if end > begin:
            convolve_rows(step.conv1, window, begin, two.room(middle, end - begin), slope=0.1)
        window, begin, end = two.advance(middle, end - begin)
        if end > begin:
            convolve_rows(step.conv2, window, begin, three.room(last_in, end - begin), slope=0.1)
        at = three.done
        window, begin, end = three.advance(last_in, end - begin)
        if end > begin:
            x = new_buffer(first, 2 + CARRIED, end - begin, w)
            convolve_rows(step.conv3, window, begin, x)
            found[:, :, at : three.done] += x[:, :2]
            if carried_on is not None:
                carried_on[:, :, at : three.done] = F.leaky_relu(x[:, 2:], 0.1)
    return found, carried_on


def picture(
    motion: Motion,
    merge: Merge,
    known: tuple[KnownFrame, KnownFrame],
    enlarged: tuple[Tensor, Tensor],
    times: Tensor,
    size: Size,
    end: int | None,
) -> Tensor:
    """The picture [1, 3, HH, WW] at one time; `end`: whose own time it is, see `FlowINR`."""
    first, second = known
    h, w = first.detail.shape[-2:]
    rows = rows_of((h, w), first.detail.device)
    velocity = velocities(motion, first.levels, second.levels, times, 2 * rows)
    velocity = F.interpolate(FINEST * velocity, scale_factor=FINEST, mode="bilinear", align_corners=False)[..., :h, :w]
    t = times[:, None, None, None]
    nf = merge.head.out_channels
    local = torch.empty_like(first.contrast)
    fine = velocity.new_empty(1, 5, h, w)
    head, flow, project = Neighbours(1, h), Neighbours(1, h), Neighbours(2, h)
    body = ResidualRows(merge.body, h, project)
    room = min(h, rows + body.delay + 3) + 4
    given = new_buffer(first.detail, merge.head.in_channels, room, w)
    x, middle, spare, weighed = (new_buffer(first.detail, nf, room, w) for _ in range(4))
    decoded = DecodedRows(merge.decoder, (h, w), size)
    out = new_picture(velocity, size)
    for y in range(0, h, rows):
        v = velocity[:, :, y : y + rows]
        inside = head.room(given, v.shape[2])
        contrasts = []
        for k, (frame, way) in enumerate(((first, -t), (second, 1 - t))):
            by = way * v
            inside[:, k * nf : (k + 1) * nf] = warp(frame.features, by, y)
            inside[:, 2 * nf + 3 * k : 2 * nf + 3 * k + 3] = warp(frame.detail, by, y)
            contrasts.append(warp(frame.contrast, by, y))
        near = local[:, :, y : y + rows] = (1 - t) * contrasts[0] + t * contrasts[1]
        inside[:, 2 * nf + 6 :] = torch.cat([v / 4 * near, t * near], 1)
        window, begin, stop = head.advance(given, v.shape[2])
        if stop > begin:
            convolve_rows(merge.head, window, begin, body.entry.room(x, stop - begin), slope=0.0)
        made, count = body(x, stop - begin, (middle, spare))
        if count == 0:
            continue
        at = flow.seen
        own = project.room(made, count)
        flow.room(weighed, count).copy_(own / (local[:, :, at : at + count] + 0.02))
        at = flow.done
        window, begin, stop = flow.advance(weighed, count)
        if stop > begin:
            change = new_buffer(first.detail, 5, stop - begin, w)
            convolve_rows(merge.flow, window, begin, change)
            v = velocity[:, :, at : flow.done]
            fine[:, :2, at : flow.done] = t * (change[:, :2] - v)
            fine[:, 2:4, at : flow.done] = (1 - t) * (change[:, 2:4] + v)
            fine[:, 4:, at : flow.done] = change[:, 4:]
        at = project.done
        window, begin, stop = project.advance(made, count)
        if stop > begin:
            free = next(b for b in (x, middle, spare) if b is not made)
            low, high = output_rows(at, project.done, h, size[0])
            if high > low:
                _blend(out[:, :, low:high], fine, enlarged, times, low, size, end)
            _decode(merge.decoder, decoded, window, begin, stop, at, free, out)
    return out


def _blend(
    out: Tensor, fine: Tensor, enlarged: tuple[Tensor, Tensor], times: Tensor, first: int, size: Size, end: int | None
) -> None:
    """Rows of the picture, from `first` on: what both frames show of them."""
    last = first + out.shape[2]
    if end is not None:
        out.copy_(enlarged[end][:, :, first:last])
        return
    h, w = fine.shape[-2:]
    t = times[:, None, None, None]
    large = bilinear_rows(fine, first, last, size)
    unit = fine.new_tensor([size[1] / w, size[0] / h, size[1] / w, size[0] / h])[:, None, None]
    flow, logit = large[:, :4] * unit, large[:, 4:]
    one, two = warp(enlarged[0], flow[:, :2], first), warp(enlarged[1], flow[:, 2:], first)
    weight = (1 - t) * torch.sigmoid(logit)
    other = t * torch.sigmoid(-logit)
    out.copy_((weight * one + other * two) / (weight + other))


def enlarged(decoder: Decoder, frame: Tensor, features: Tensor, size: Size) -> Tensor:
    """A frame enlarged, of features that are there already."""
    h, w = frame.shape[-2:]
    rows = rows_of((h, w), frame.device)
    out = enlarged_base(frame, size)
    decoded = DecodedRows(decoder, (h, w), size)
    spare = new_buffer(features, features.shape[1], min(h, rows), w)
    for y in range(0, h, rows):
        top, last = max(0, y - 1), min(h, y + rows)
        _decode(decoder, decoded, features[:, :, top : last + 1], y - top, last - top, y, spare, out)
    return out
