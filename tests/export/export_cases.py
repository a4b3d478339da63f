"""Small networks to export, and what the video tool does with one."""

import torch

import vinr_engine as vinr

SMALL = dict(
    nf=8, groups=2, front_blocks=1, back_blocks=1, hr_features=12, feat_hidden=(16,), flow_hidden=(16, 24),
    encode_hidden=(16, 32),
)  # fmt: skip
RESIDUAL = SMALL | dict(residual=True, recurrent=False, motion_prior=True)
# Two sizes of one model, the second with sides that need padding; and where their outputs are no whole multiple.
# Of the first, pixels are more than a block of the portable query, and not a multiple.
CASES = [((8, 12), (35, 61), [0.0, 0.5]), ((13, 9), (31, 20), [0.25, 0.75, 1.0])]
# A block exactly, twice; the smallest output; one that is as flat as can be.
EDGES = [((13, 9), (64, 64), [0.5]), ((9, 13), (2, 2), [0.0]), ((5, 7), (2, 1025), [1.0])]
SHRINKING = ((12, 16), (9, 11), [0.3])


def network(config, seed=0):
    """A network of random weights, none of them zero: initial zeros would hide what they are multiplied with."""
    torch.manual_seed(seed)
    made = vinr.VideoINR(**config).eval()
    for name, parameter in made.named_parameters():
        if "conv_offset_mask" in name or not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2 if "conv_offset_mask" in name else 0.1)
    return made.requires_grad_(False)


def decode(model, frames, times, size):
    """What the video tool does with a network, for one pair of frames."""
    with torch.inference_mode():
        pair = [model.known(frames[:, i]) for i in (0, 1)]
        return model.query(model.encode_pair(*pair), frames, times, size)
