"""Initial weights under which a signal keeps its size through the encoder and the query."""

from __future__ import annotations

import math

import torch
from torch import nn

from vinr_engine.models.layers.blocks import DeformConvPack, ResidualBlocks
from vinr_engine.models.layers.motion_prior import VALUES, VELOCITY_UNIT, MotionPrior
from vinr_engine.models.layers.siren import OMEGA, SineLayer, Siren
from vinr_engine.models.network import NetworkModule

FLOW_UNIT = 4.0  # input pixels, which a residual network's flow counts in: its weights are then of common size
SLOPE = 0.1  # of the leaky ReLU
DIFFERENCE = 3.0  # by how much a feature exceeds its change from frame to frame
STRAIGHT, STRAIGHT_TIME = 0.1, 0.5  # radians a pixel and a unit of time: where a sine is nearly its argument
FEATURE, HR_FEATURE, COLOUR, TIME, RELATIVE = 0.4, 0.7, 0.5, 0.5, 0.6  # about the size of what the query reads


class Initialised(NetworkModule):
    """The parts of VideoINR that begin with weights of their own."""

    feat_imnet: Siren
    flow_imnet: Siren
    encode_imnet: Siren
    fusion: nn.Conv2d
    recon_trunk: ResidualBlocks
    motion_prior: MotionPrior | None

    def initialise(self) -> None:
        """Draw He's weights for the encoder, and for the query phases of about a radian from each kind of input.

        torch's and SIREN's own shrink a signal at every layer. The features between the frames pass ten layers and
        begin a hundred times smaller than those of the frames; what the HR feature adds to a phase is a hundredth of a
        radian, so that the colour network does not see where in an input pixel it is. It takes very many steps to grow
        both.
        """
        for name, module in self.named_modules():
            if name.startswith(("recon_trunk.", "feature_extraction.")) or name.endswith("conv_offset_mask"):
                continue
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, DeformConvPack):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                module.weight.data.mul_(2)  # masks begin at one half
        for name, module in self.named_modules():
            if "_offset_conv1_" in name and isinstance(module, nn.Conv2d):
                _see_differences(module)
        nf, hr = self.config["nf"], self.config["hr_features"]
        features, colours, time = (3 * nf, FEATURE), (6, COLOUR), (1, TIME)
        _first_layer(self.feat_imnet, [features, colours, (2, RELATIVE), time])
        _first_layer(self.flow_imnet, [(hr, HR_FEATURE), features, colours, time])
        twice = [(2 * count, size) for count, size in ((hr, HR_FEATURE), features, colours)]
        _first_layer(self.encode_imnet, [*twice, time])
        last = self.feat_imnet.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(
            last.weight, std=HR_FEATURE / math.sqrt(last.in_features / 2)
        )  # a sine's square is half on average
        if self.config["motion_prior"] and self.config["residual"] and not self.config["recurrent"]:
            self._follow_prior()

    @torch.no_grad()
    def _follow_prior(self) -> None:
        """Let the flow begin as that of the motion prior: A = -t v, B = (1 - t) v, where v is the velocity.

        Two channels of the features between the frames carry v and nothing else at first. Three sines each, small
        enough to be nearly straight, turn it into flow: sin(a v), and for t v the sum
        sin(a v + c t - pi / 2) + sin(a v - c t + pi / 2) = 2 sin(a v) sin(c t).
        """
        nf, hr = self.config["nf"], self.config["hr_features"]
        sines, *others, last = self.flow_imnet.net
        if others or not isinstance(sines, SineLayer) or sines.linear.out_features < 6:
            widths = self.config["flow_hidden"]
            raise ValueError(f"a motion prior needs flow_hidden of one layer, six or more wide, got {widths}")
        assert isinstance(last, nn.Linear)
        assert self.motion_prior is not None
        prior, first = self.motion_prior.conv, sines.linear
        prior.weight[:2, :, 0, 0] = torch.eye(VALUES)[:2]
        _zero(prior.bias, slice(2))
        for module in (self.fusion, *(block.get_submodule("conv2") for block in self.recon_trunk)):
            assert isinstance(module, nn.Conv2d)
            module.weight[:2] = 0
            _zero(module.bias, slice(2))
        for axis in range(2):
            plain, later, sooner = rows = [3 * axis + k for k in range(3)]
            first.weight[rows] = 0
            _zero(first.bias, rows)
            first.weight[rows, hr + nf + axis] = STRAIGHT * VELOCITY_UNIT / OMEGA
            for row, sign in ((later, 1), (sooner, -1)):
                first.weight[row, -1] = sign * STRAIGHT_TIME / OMEGA
                first.bias[row] = -sign * math.pi / 2 / OMEGA
            velocity, moved = 1 / STRAIGHT, 1 / (2 * STRAIGHT * math.sin(STRAIGHT_TIME))
            last.weight[[axis, 2 + axis], later] = last.weight[[axis, 2 + axis], sooner] = -moved / FLOW_UNIT
            last.weight[2 + axis, plain] = velocity / FLOW_UNIT


def _zero(bias: torch.Tensor | None, rows: slice | list[int]) -> None:
    assert bias is not None
    bias[rows] = 0


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
