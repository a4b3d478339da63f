"""One list of arguments for deform_conv2d: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 1
    channels: int = 4
    size: tuple = (5, 6)
    out_channels: int = 4
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    padding: tuple = (1, 1)
    dilation: tuple = (1, 1)
    groups: int = 1
    offset_groups: int = 1
    mask: bool = True
    bias: bool = True
    sliced: bool = False  # tensors are strided views
    spread: float = 2.0  # offsets are drawn from +- spread pixels

    @property
    def out_size(self):
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(self.size, self.padding, self.dilation, self.kernel, self.stride, strict=True)
        )

    def tensors(self, dtype=torch.float64, seed=0):
        """input, offset, weight, bias, mask"""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape, scale=1.0):
            if not self.sliced or not shape:
                return ((torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1) * scale).to(dtype)
            wider = (*shape[:-1], 2 * shape[-1])
            return ((torch.rand(wider, generator=rng, dtype=torch.float64) * 2 - 1) * scale).to(dtype)[..., ::2]

        K = self.kernel[0] * self.kernel[1]
        return (
            draw(self.batch, self.channels, *self.size),
            draw(self.batch, 2 * self.offset_groups * K, *self.out_size, scale=self.spread),
            draw(self.out_channels, self.channels // self.groups, *self.kernel),
            draw(self.out_channels) if self.bias else None,
            draw(self.batch, self.offset_groups * K, *self.out_size) if self.mask else None,
        )

    def packed(self, dtype=torch.float64, seed=0):
        """input, offset_mask, weight, bias of the packed form; mask logits up to +-4"""
        input, offset, weight, bias, mask = self.tensors(dtype, seed)
        if mask is None:
            mask = offset[:, : offset.shape[1] // 2]
        return input, torch.cat((offset, 4 * mask), 1), weight, bias

    @property
    def geometry(self):
        return self.stride, self.padding, self.dilation


SAMPLES = [
    Sample("plain"),
    Sample("empty_batch", batch=0),
    Sample("one_pixel", size=(1, 1)),
    Sample("one_by_one", kernel=(1, 1), padding=(0, 0), batch=2),
    Sample("odd_sizes", batch=2, size=(7, 3), channels=3, out_channels=5),
    Sample("tile_edges", size=(13, 11), channels=2, out_channels=3),  # 143 pixels: two tiles of 64 and a part
    Sample("stride", size=(8, 9), stride=(2, 3)),
    Sample("dilation", size=(8, 9), padding=(2, 3), dilation=(2, 3)),
    Sample("groups", channels=6, out_channels=4, groups=2, offset_groups=3),
    Sample("offset_groups_across_groups", channels=4, groups=4, offset_groups=2),
    Sample("depthwise", channels=4, out_channels=8, groups=4, offset_groups=4),
    Sample("no_mask", mask=False),
    Sample("no_bias", bias=False),
    Sample("neither", mask=False, bias=False, batch=2),
    Sample("sliced", sliced=True, batch=2),
    Sample("far_offsets", spread=20.0),
    Sample("even_kernel", kernel=(2, 4), padding=(1, 2)),
]

# Too large for an oracle that multiplies one pair at a time: channels in whole vectors and beside them, outputs past
# one panel of weights, many tiles, bands and images.
LARGER = [
    Sample("groups_of_8", batch=3, channels=16, size=(13, 9), out_channels=72, offset_groups=2),
    Sample("groups_of_16", channels=32, size=(9, 8), out_channels=20, offset_groups=2),
    Sample("groups_of_13", channels=26, size=(7, 8), out_channels=10, offset_groups=2, mask=False),
    Sample("one_group_of_40", channels=40, size=(7, 8), out_channels=33, bias=False),
    Sample("grouped_vectors", batch=2, channels=48, size=(10, 9), out_channels=34, groups=2, offset_groups=3),
    Sample("published", channels=64, size=(12, 50), out_channels=64, offset_groups=8),
    Sample("strided_vectors", channels=16, size=(21, 30), out_channels=16, offset_groups=2, stride=(2, 3)),
    Sample("many_bands", batch=2, channels=64, size=(20, 41), out_channels=8, offset_groups=4, kernel=(5, 5)),
]
