"""One list of arguments for deform_attention: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sample:
    name: str
    clips: int = 1
    frames: int = 2
    heads: int = 2
    depth: int = 5
    groups: int = 4
    size: tuple = (4, 5)
    kernel_size: tuple = (3, 3)
    layout: str = "nchw"  # or "nhwc"; "sliced"
    reach: float = 2.0

    def arguments(self, dtype=torch.float64, seed=0):
        """q, kv, offset, heads, groups, kernel_size, padding. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)
        N, C, (h, w) = self.clips * self.frames, self.heads * self.depth, self.size
        channels = self.frames * 2 * self.groups * self.kernel_size[0] * self.kernel_size[1]

        def draw(scale, *shape):
            *first, c, rows, columns = shape
            if self.layout == "nhwc":
                m = torch.rand(*first, rows, columns, c, generator=rng).movedim(-1, -3)
            elif self.layout == "sliced":
                m = torch.rand(*first, c, rows, 2 * columns + 1, generator=rng)[..., 1::2]
            else:
                m = torch.rand(shape, generator=rng)
            return ((m * 2 - 1) * scale).to(dtype)

        q, kv = draw(2, N, 1, C, h, w), draw(1, self.clips, self.frames, 2 * C, h, w)
        offset = draw(self.reach, N, channels, h, w)
        # On whole numbers the derivative has two sides.
        offset = torch.where((offset - offset.round()).abs() < 1e-3, offset + 0.01, offset)
        padding = tuple(k // 2 for k in self.kernel_size)
        return q, kv, offset, self.heads, self.groups, self.kernel_size, padding


SAMPLES = [
    Sample("two_frames"),
    Sample("nhwc", layout="nhwc"),
    Sample("sliced", layout="sliced"),
    Sample("one_frame_one_group", frames=1, groups=1, clips=2),
    Sample("three_frames", frames=3, groups=2, clips=2, size=(3, 4)),
    Sample("groups_cut_heads", heads=3, depth=8, groups=12),
    Sample("a_group_of_keys_and_values", heads=3, depth=5, groups=5, size=(3, 3)),
    Sample("one_channel", heads=1, depth=1, groups=2),
    Sample("a_head_of_many_vectors", heads=1, depth=70, groups=1, size=(3, 4)),
    Sample("heads_of_two_vectors", heads=4, depth=20, groups=2, size=(2, 3)),
    Sample("wide_kernel", kernel_size=(1, 5), heads=1, groups=2),
    Sample("far_away", reach=9.0),
    Sample("several_tiles", size=(5, 11), heads=4, depth=15),
    Sample("one_pixel", size=(1, 1)),
    Sample("one_row", size=(1, 20)),
    Sample("one_column", size=(20, 1), layout="nhwc"),
]
EMPTY = [Sample("empty_batch", clips=0), Sample("no_rows", size=(0, 4)), Sample("no_columns", size=(4, 0))]
