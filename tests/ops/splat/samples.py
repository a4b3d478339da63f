"""One list of arguments for splat and splat_sum: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    channels: int = 3
    size: tuple = (5, 7)
    batch: int = 2
    reach: float = 3.0  # pixels
    flow: str = "any"  # or "whole" pixels, all to one "point", "nonfinite" and far ones here and there
    layout: str = "nchw"  # or "nhwc"; "sliced"

    def arguments(self, dtype=torch.float64, seed=0):
        """x, flow and metric; every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)
        B, C, (H, W) = self.batch, self.channels, self.size

        def draw(channels, layout="nchw"):
            wide = torch.rand(B, channels, H, 2 * W + 1, generator=rng) * 2 - 1
            if layout == "sliced":
                return wide.to(dtype)[..., 1::2]
            memory = torch.channels_last if layout == "nhwc" else torch.contiguous_format
            return wide[..., 1::2].to(dtype).contiguous(memory_format=memory)

        x, flow, metric = draw(C, self.layout), draw(2, self.layout) * self.reach, draw(1, self.layout) * 2
        if self.flow == "whole":
            flow = flow.round()
        if self.flow == "point":
            grid = torch.stack(torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")[::-1])
            flow = flow * 2**-10 + (torch.tensor([W / 2, H / 2])[:, None, None] - grid).to(dtype)
        if self.flow == "nonfinite":
            odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 2.0**31, -(2.0**31), 2.0**63, 3e38, -3e38])
            chosen = torch.rand(flow.shape, generator=rng) < 0.2
            flow = torch.where(chosen, odd[torch.randint(8, flow.shape, generator=rng)].to(dtype), flow)
        return x, flow, metric


SAMPLES = [
    Sample("nchw"),
    Sample("nhwc", layout="nhwc", channels=4),
    Sample("sliced", layout="sliced", channels=2),
    Sample("whole_pixels", flow="whole"),
    Sample("one_point", flow="point", channels=5, batch=1),
    Sample("not_finite", flow="nonfinite"),
    Sample("far_outside", reach=20.0),
    Sample("one_channel", channels=1, layout="nhwc"),
    Sample("whole_vectors", channels=32, layout="nhwc"),
    Sample("odd_channels", channels=37, size=(4, 6)),
    Sample("more_than_a_tile", channels=17, size=(2, 70), batch=1),
    Sample("more_than_a_slab", channels=8, size=(19, 3), batch=1, reach=8.0),
    Sample("one_pixel", size=(1, 1), reach=0.5),
    Sample("one_row", size=(1, 20), layout="nhwc"),
    Sample("one_column", size=(20, 1)),
]
EMPTY = [Sample("empty_batch", batch=0), Sample("no_rows", size=(0, 4)), Sample("no_columns", size=(4, 0))]
