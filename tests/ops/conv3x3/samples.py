"""One list of arguments for conv3x3: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 1
    size: tuple = (6, 7)
    channels: tuple = (5,)
    outputs: int = 6
    bias: bool = True
    add: bool = False
    slope: float = 1.0
    layout: str = "nhwc"  # or "nchw"; "sliced", some channels of a wider map; "broadcast"
    weight: str = "whole"  # or "half": some of the inputs of a wider weight; "turned", as its gradient's

    def arguments(self, dtype=torch.float64, seed=0):
        """maps, weight, bias, add, slope. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return (torch.rand(shape, generator=rng) * 2 - 1).to(dtype)

        def of(C):
            shape = (self.batch, C, *self.size)
            if self.layout == "sliced":
                return draw(self.batch, *self.size, C + 3).permute(0, 3, 1, 2)[:, 2 : C + 2]
            if self.layout == "broadcast":
                return draw(1, C, 1, 1).expand(shape)
            return draw(*shape).contiguous(
                memory_format=torch.channels_last if self.layout == "nhwc" else torch.contiguous_format
            )

        inputs = sum(self.channels)
        if self.weight == "half":
            weight = draw(self.outputs, 2 * inputs, 3, 3)[:, inputs:]
        elif self.weight == "turned":
            weight = draw(inputs, self.outputs, 3, 3).flip(2, 3).transpose(0, 1)
        else:
            weight = draw(self.outputs, inputs, 3, 3)
        bias = draw(self.outputs) if self.bias else None
        return [of(C) for C in self.channels], weight, bias, of(self.outputs) if self.add else None, self.slope


SAMPLES = [
    Sample("plain"),
    Sample("batch", batch=3),
    Sample("no_bias", bias=False),
    Sample("relu", slope=0.0),
    Sample("leaky", slope=0.1, add=True),
    Sample("steep", slope=2.0),
    Sample("add", add=True),
    Sample("nchw", layout="nchw", add=True),
    Sample("sliced", layout="sliced", channels=(6, 4), add=True),
    Sample("broadcast", layout="broadcast", batch=2),
    Sample("joined", channels=(5, 3, 9), outputs=4),
    Sample("half_weight", weight="half"),
    Sample("turned_weight", weight="turned"),
    Sample("one_channel", channels=(1,), outputs=1),
    Sample("no_channels", channels=(0, 4)),
    Sample("one_pixel", size=(1, 1)),
    Sample("one_row", size=(1, 21), slope=0.1),
    Sample("one_column", size=(21, 1)),
    Sample("whole_tiles", batch=2, size=(8, 12), channels=(16,), outputs=16),
    Sample("many_outputs", size=(5, 9), channels=(8,), outputs=83, slope=0.1),
    Sample("many_tiles", size=(23, 37), channels=(20, 13), outputs=33, add=True),
]
PUBLISHED = Sample("published", size=(21, 19), channels=(64, 64), outputs=64, slope=0.1, add=True)
WIDE = Sample("wide", size=(13, 17), channels=(300,), outputs=216)
EMPTY = [
    Sample("empty_batch", batch=0),
]
