"""Initial weights under which a signal keeps its size through the encoder."""

from __future__ import annotations

from torch import nn

from vinr_engine.models.blocks import DeformConvPack
from vinr_engine.models.video_inr import VideoINR

SLOPE = 0.1  # of the leaky ReLU


def he_initialise(model: VideoINR) -> None:
    """He's initialisation of the encoder's convolutions outside residual blocks, biases zero.

    torch's own default shrinks a signal by about three a layer. The features between the frames pass ten layers: they
    begin a hundred times smaller than those of the frames, and it takes thousands of steps until motion is seen.
    """
    for name, module in model.named_modules():
        if name.startswith(("recon_trunk.", "feature_extraction.")) or name.endswith("conv_offset_mask"):
            continue
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, DeformConvPack):
            nn.init.kaiming_normal_(module.weight, SLOPE)
            module.weight.data.mul_(2)  # masks begin at one half
