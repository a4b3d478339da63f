"""One list of arguments for fourier_field and v3_query: it drives definition, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 2
    pixels: tuple = (4, 5)
    size: tuple = (8, 10)
    functions: int = 7
    colours: int = 3
    axes: int = 3
    times: tuple | None = ((0, 0.0), (0, 0.25), (1, -0.25), (0, 0.5))  # (frame, offset) of each output
    channels: int = 6
    base: bool = True
    sliced: bool = False

    def _drawing(self, dtype, seed):
        rng = torch.Generator().manual_seed(seed)

        def uniform(*shape, scale):
            return ((torch.rand(shape, generator=rng) * 2 - 1) * scale).to(dtype)

        def draw(*shape, scale=1.0):
            if self.sliced and len(shape) > 2:
                return uniform(*shape[:-1], 2 * shape[-1] + 1, scale=scale)[..., 1::2]
            return uniform(*shape, scale=scale)

        return draw

    def _field(self, draw, dtype):
        frequencies = draw(self.axes, self.functions, scale=40.0)
        damping = draw(self.functions, scale=0.5) + 0.5
        times = None
        if self.times is not None:
            frames, offsets = zip(*self.times, strict=True) if self.times else ((), ())
            times = torch.tensor(frames, dtype=torch.int64), torch.tensor(offsets, dtype=dtype)
        return frequencies, damping, self.size, times

    def arguments(self, dtype=torch.float64, seed=0):
        """Of fourier_field. Every number is the same in float32 and in float64."""
        draw, shape = self._drawing(dtype, seed), (self.batch, *self.pixels, self.functions)
        return draw(*shape, self.colours), draw(*shape, scale=4.0), *self._field(draw, dtype)

    def query(self, dtype=torch.float64, seed=0):
        """Of v3_query."""
        draw, rows = self._drawing(dtype, seed), (self.colours + 1) * self.functions
        head = draw(rows, self.channels), draw(rows, scale=0.1)
        encoding = draw(self.batch, *self.pixels, self.channels)
        base = draw(self.batch, *self.pixels, self.colours) if self.base else None
        return encoding, head, *self._field(draw, dtype), base


SAMPLES = [
    Sample("whole"),
    Sample("sliced", sliced=True),
    Sample("thera", axes=2, times=None, base=False),
    Sample("every_frame", times=None),
    Sample("same_size", size=(4, 5), times=((1, 0.3),)),
    Sample("rational", pixels=(10, 5), size=(24, 12), batch=1, times=((0, -0.5), (0, 0.1))),
    Sample("any_scale", pixels=(5, 7), size=(13, 17)),
    Sample("smaller", pixels=(6, 5), size=(3, 2), colours=2),
    Sample("one_axis_smaller", pixels=(6, 4), size=(2, 8)),
    Sample("more_than_a_table", pixels=(2, 2), size=(20, 24), batch=1, times=((0, 0.1), (0, 0.2)), functions=3),
    Sample("whole_vectors", functions=32, channels=16, pixels=(6, 6), size=(12, 12)),
    Sample("one_colour", colours=1, functions=1, channels=1),
    Sample("one_pixel", pixels=(1, 1), size=(3, 4)),
    Sample("one_output", pixels=(3, 3), size=(1, 1)),
    Sample("a_frame_without_times", times=((1, 0.0), (1, 0.5))),
]
EMPTY = [Sample("no_times", times=()), Sample("no_frames", batch=0, times=())]
