"""One list of arguments for local_correlation: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    channels: int = 6
    size: tuple = (5, 7)
    times: tuple = (0.0, 0.5, 1.0)
    radius: int = 2
    layout: str = "nchw"  # or "nhwc"; "sliced"

    def arguments(self, dtype=torch.float64, seed=0):
        """first, second [B, C, h, w], times [B], radius. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)
        B, C, (h, w) = len(self.times), self.channels, self.size

        def draw():
            if self.layout == "sliced":
                return (torch.rand(B, C, h, 2 * w + 1, generator=rng) * 2 - 1).to(dtype)[..., 1::2]
            m = (torch.rand(B, C, h, w, generator=rng) * 2 - 1).to(dtype)
            return m.contiguous(memory_format=torch.channels_last) if self.layout == "nhwc" else m

        return draw(), draw(), torch.tensor(self.times, dtype=dtype), self.radius


SAMPLES = [
    Sample("nchw"),
    Sample("nhwc", layout="nhwc"),
    Sample("sliced", layout="sliced"),
    Sample("eighths", times=tuple(n / 8 for n in range(9)), radius=3, channels=3),
    Sample("itself_alone", radius=0),
    Sample("wider_than_the_map", size=(2, 3), radius=4),
    Sample("one_channel", channels=1),
    Sample("whole_vectors", channels=32, radius=1, layout="nhwc"),
    Sample("odd_channels", channels=37, radius=1),
    Sample("one_pixel", size=(1, 1)),
    Sample("one_row", size=(1, 20)),
    Sample("one_column", size=(20, 1), layout="nhwc"),
]
EMPTY = [Sample("empty_batch", times=()), Sample("no_rows", size=(0, 4)), Sample("no_columns", size=(4, 0))]
