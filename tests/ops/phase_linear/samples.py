"""One list of arguments for phase_linear: it drives oracle, gradients, opcheck and compilation."""

from dataclasses import dataclass

import torch

from vinr_engine.reference.phase_linear import phases


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 2
    channels: int = 3
    input: tuple = (4, 5)
    size: tuple = (8, 10)
    outputs: int = 3
    layout: str = "nchw"  # or "nhwc"; "sliced", whose channels lie apart; "part" of the channels of an nhwc map
    base: bool = False

    def arguments(self, dtype=torch.float64, seed=0):
        """maps [B, K, h, w], weights [Py, Px, C, K], size, base [B, C, H, W] or None. Every number is the same in
        float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)
        B, K, (h, w) = self.batch, self.channels, self.input
        Py, Px = (phases(n, m) for n, m in zip(self.input, self.size, strict=True))

        def draw(*shape):
            return (torch.rand(shape, generator=rng) * 2 - 1).to(dtype)

        def draw_maps():
            if self.layout == "sliced":
                return draw(B, K, h, 2 * w + 1)[..., 1::2]
            if self.layout == "part":
                return draw(B, h, w, K + 3).permute(0, 3, 1, 2)[:, 2 : 2 + K]
            m = draw(B, K, h, w)
            return m.contiguous(memory_format=torch.channels_last) if self.layout == "nhwc" else m

        weights = draw(Py, Px, self.outputs, K)
        if self.layout == "sliced":
            weights = weights.transpose(0, 3).contiguous().transpose(0, 3)
        return draw_maps(), weights, self.size, draw(B, self.outputs, *self.size) if self.base else None


SAMPLES = [
    Sample("nchw"),
    Sample("nhwc", layout="nhwc", base=True),
    Sample("sliced", layout="sliced", base=True),
    Sample("part_of_the_channels", layout="part"),
    Sample("same_size", size=(4, 5)),
    Sample("four_times", size=(16, 20), channels=48, layout="nhwc", base=True),
    Sample("nine_quarters", input=(8, 12), size=(18, 27), channels=17, layout="nhwc", base=True),
    Sample("five_halves", input=(6, 4), size=(15, 10), layout="nhwc"),
    Sample("seven_times", size=(28, 35), batch=1),
    Sample("eleven_halves", input=(2, 4), size=(11, 22), batch=1, base=True),
    Sample("eight_times", input=(2, 3), size=(16, 24), base=True),
    Sample("no_common_divisor", size=(7, 11), base=True),
    Sample("another_scale_along_each_axis", size=(6, 15)),
    Sample("smaller", size=(2, 3)),
    Sample("to_one_pixel", size=(1, 1), base=True),
    Sample("from_one_pixel", input=(1, 1), size=(5, 9)),
    Sample("one_row", input=(1, 70), size=(2, 140), channels=16),
    Sample("one_column", input=(70, 1), size=(105, 2), outputs=1),
    Sample("one_channel", channels=1, outputs=5),
    Sample("whole_vectors", channels=32, outputs=4, size=(8, 20), layout="nhwc"),
    Sample("long", batch=3, input=(12, 30), size=(24, 60), channels=5, layout="nhwc"),
]
EMPTY = [Sample("empty_batch", batch=0, base=True), Sample("no_outputs", outputs=0)]
