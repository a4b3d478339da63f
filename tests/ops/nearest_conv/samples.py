"""One list of arguments for nearest_conv: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 2
    channels: tuple = (5, 3)
    size: tuple = (4, 5)
    enlarged: tuple = (16, 20)
    layout: str = "nchw"  # or "nhwc"; "sliced"
    biased: bool = True

    def arguments(self, dtype=torch.float64, seed=0):
        """x [B, C, h, w], weight, bias, size. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)
        (C, O), (h, w) = self.channels, self.size

        def draw(*shape):
            return (torch.rand(shape, generator=rng) * 2 - 1).to(dtype)

        x = draw(self.batch, C, h, 2 * w + 1)[..., 1::2] if self.layout == "sliced" else draw(self.batch, C, h, w)
        if self.layout == "nhwc":
            x = x.contiguous(memory_format=torch.channels_last)
        return x, draw(O, C, 3, 3), draw(O) if self.biased else None, self.enlarged


ENLARGED = [
    Sample("scale4"),
    Sample("scale2", enlarged=(8, 10), layout="nhwc"),
    Sample("scale3_sliced", enlarged=(12, 15), layout="sliced"),
    Sample("fraction", size=(6, 8), enlarged=(21, 28)),
    Sample("below_2", size=(6, 7), enlarged=(9, 10), biased=False),
    Sample("along_one_axis", enlarged=(4, 10)),
    Sample("anisotropic", enlarged=(5, 33)),
    Sample("whole_vectors", channels=(64, 64), size=(7, 9), enlarged=(14, 27), batch=1, layout="nhwc"),
    Sample("odd_channels", channels=(17, 37), size=(7, 9), enlarged=(14, 18)),
    Sample("one_pixel", size=(1, 1), enlarged=(3, 1)),
    Sample("one_row", size=(1, 20), enlarged=(2, 40)),
    Sample("one_channel", channels=(1, 1)),
]
RESIZED = [  # not enlarged along an axis
    Sample("scale1", enlarged=(4, 5)),
    Sample("smaller", size=(6, 7), enlarged=(3, 5)),
    Sample("smaller_along_one_axis", size=(6, 7), enlarged=(12, 5)),
]
EMPTY = [Sample("empty_batch", batch=0)]
