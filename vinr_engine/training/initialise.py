"""Initial weights under which a signal keeps its size through the encoder and the query."""

from __future__ import annotations

import math

import torch
from torch import nn

from vinr_engine.models.blocks import DeformConvPack
from vinr_engine.models.siren import OMEGA, SineLayer, Siren
from vinr_engine.models.video_inr import VideoINR

SLOPE = 0.1  # of the leaky ReLU
DIFFERENCE = 3.0  # by how much a feature exceeds its change from frame to frame
FEATURE, HR_FEATURE, COLOUR, TIME, RELATIVE = 0.4, 0.7, 0.5, 0.5, 0.6  # about the size of what the query reads


def initialise(model: VideoINR) -> None:
    """Weights to begin with: He's in the encoder, and in the query phases of about one radian from each kind of input.

    torch's and SIREN's own shrink a signal at every layer. The features between the frames pass ten layers and begin a
    hundred times smaller than those of the frames; what the HR feature adds to a phase is a hundredth of a radian, so
    that the colour network does not see where in an input pixel it is. It takes very many steps to grow both.
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
    for name, module in model.named_modules():
        if "_offset_conv1_" in name and isinstance(module, nn.Conv2d):
            _see_differences(module)
    nf, hr = model.config["nf"], model.config["hr_features"]
    features, colours, time = (3 * nf, FEATURE), (6, COLOUR), (1, TIME)
    _first_layer(model.feat_imnet, [features, colours, (2, RELATIVE), time])
    _first_layer(model.flow_imnet, [(hr, HR_FEATURE), features, colours, time])
    twice = [(2 * count, size) for count, size in ((hr, HR_FEATURE), features, colours)]
    _first_layer(model.encode_imnet, [*twice, time])
    last = model.feat_imnet.net[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=HR_FEATURE / math.sqrt(last.in_features / 2))  # a sine's square is half on average


@torch.no_grad()
def _see_differences(conv: nn.Conv2d) -> None:
    """Let half of the filters of two joined, similar inputs see their difference, enlarged, and half their mean."""
    half = conv.out_channels // 2
    target, guide = conv.weight.chunk(2, 1)
    guide[:half] = -target[:half]
    guide[half:] = target[half:]
    conv.weight[:half] *= DIFFERENCE
    conv.weight[half:] /= math.sqrt(2)


@torch.no_grad()
def _first_layer(network: Siren, inputs: list[tuple[int, float]]) -> None:
    """Give each of the inputs' kinds, (count, size), in order, a share of one radian."""
    first = network.net[0]
    assert isinstance(first, SineLayer)
    columns = first.linear.weight.split([count for count, _ in inputs], 1)
    for weight, (count, size) in zip(columns, inputs, strict=True):
        nn.init.normal_(weight, std=1 / (OMEGA * math.sqrt(count) * size))
