"""One list of arguments for project_maps: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 2
    size: tuple = (5, 7)
    channels: tuple = (6, 3)
    outputs: int = 10
    layout: str = "nchw"  # or "nhwc"; "stacked", as the encoder gives features; "sliced", "broadcast"

    def arguments(self, dtype=torch.float64, seed=0):
        """maps [B, C_i, h, w] and weight. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return (torch.rand(shape, generator=rng) * 2 - 1).to(dtype)

        def of(C):
            if self.layout == "sliced":
                return draw(self.batch, C, self.size[0], 2 * self.size[1] + 1)[..., 1::2]
            if self.layout == "broadcast":
                return draw(1, C, 1, 1).expand(self.batch, C, *self.size)
            if self.layout == "stacked":
                return draw(3, self.batch, *self.size, C).permute(1, 0, 4, 2, 3)[:, 1]
            m = draw(self.batch, C, *self.size)
            return m.contiguous(memory_format=torch.channels_last) if self.layout == "nhwc" else m

        weight = draw(self.outputs, sum(self.channels))
        return [of(C) for C in self.channels], weight.t().contiguous().t() if self.layout == "sliced" else weight


SAMPLES = [
    Sample("nchw"),
    Sample("nhwc", layout="nhwc"),
    Sample("stacked", layout="stacked"),
    Sample("sliced", layout="sliced"),
    Sample("broadcast", layout="broadcast"),
    Sample("one_map", channels=(5,)),
    Sample("many_maps", channels=(1, 2, 3, 4, 5), outputs=3),
    Sample("one_channel", channels=(1,), outputs=1),
    Sample("no_channels", channels=(0, 4)),
    Sample("one_pixel", batch=1, size=(1, 1), layout="nhwc"),
    Sample("one_row", size=(1, 50)),
    Sample("one_column", size=(50, 1), layout="nhwc"),
    Sample("whole_tile", batch=1, size=(6, 8), outputs=16),
    Sample("whole_vectors", size=(7, 9), channels=(64, 32), outputs=64, layout="nhwc"),
    Sample("odd_widths", size=(9, 11), channels=(17, 20), outputs=83),
]
PUBLISHED = Sample("published", batch=1, size=(13, 19), channels=(64, 64, 64, 6), outputs=256, layout="stacked")
EMPTY = [
    Sample("empty_batch", batch=0),
    Sample("no_rows", size=(0, 4)),
    Sample("no_columns", size=(4, 0)),
    Sample("no_outputs", outputs=0),
    Sample("nothing_to_join", channels=(0, 0)),
]
