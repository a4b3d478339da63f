"""One list of arguments for bspline_head: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    shape: tuple = (2, 3, 5)  # of pixels
    splines: int = 7
    outputs: int = 3
    times: int = 2
    each: bool = False  # times of each part of the batch
    biased: bool = True
    layout: str = "halves"  # of one tensor; or "whole", "strided"

    def arguments(self, dtype=torch.float64, seed=0):
        """coef, knot, dilation, t, weight, bias. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return (torch.rand(shape, generator=rng) * 2 - 1).to(dtype)

        both = draw(*self.shape, 2 * self.splines) * 2
        if self.layout == "strided":
            coef, knot = both[..., ::2], both[..., 1::2]
        else:
            coef, knot = both.split(self.splines, -1)
        if self.layout == "whole":
            coef, knot = coef.contiguous(), knot.contiguous()
        t = draw(self.times, self.shape[0]) if self.each else draw(self.times)
        bias = draw(self.outputs) if self.biased else None
        return coef, knot, draw(self.splines) * 2, t, draw(self.outputs, self.splines), bias


SAMPLES = [
    Sample("halves"),
    Sample("each", each=True, layout="whole"),
    Sample("strided", layout="strided", biased=False),
    Sample("published", shape=(1, 7, 9), splines=64, times=3, each=True),
    Sample("more_than_a_tile", shape=(2, 53), splines=19, times=1, each=True),
    Sample("many_outputs", outputs=9, splines=33),
    Sample("one_of_each", shape=(1,), splines=1, outputs=1, times=1),
    Sample("one_pixel", shape=(), splines=5),
]
EMPTY = [Sample("no_pixels", shape=(2, 0)), Sample("no_batch", shape=(0, 3), each=True), Sample("no_times", times=0)]
