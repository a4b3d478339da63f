"""MoTIF's query in a project that has its encoder and a network of optical flow: two lines, and the numbers stay.

    python examples/motif.py

The project here is a stand-in with the published parameters' names, which decodes features as the paper writes it.
"""

import time

import torch
from torch import nn

from vinr_engine import reference
from vinr_engine.drop_in.motif import MoTIFQuery


class Theirs(nn.Module):
    """A project's network: features of an encoder and flow come in, pictures go out. Names are those of its
    checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        for name, part in MoTIFQuery().named_children():
            self.add_module(name, part)
        self.alpha = nn.Parameter(torch.tensor([-20.0]))

    def forward(self, features, frames, flow, times, size):
        state = self.state_dict()
        motion = reference.motif_motion_features(state, reference.motif_motion_input(frames, flow))
        return reference.motif_query(state, features, motion, times[:, None], size).rgb.clamp(0, 1)


torch.manual_seed(0)
model = Theirs()
frames, features, times, size = torch.rand(1, 2, 3, 24, 32), torch.rand(1, 3, 64, 24, 32), torch.rand(3), (96, 128)
flow = torch.zeros(2, 2, 1, 2, *size)  # from frame a to frame b, in output pixels; RAFT's in MoTIF
flow[0, 1, :, 0], flow[1, 0, :, 0] = 6, -6
query = MoTIFQuery.of(model)  # it shares the model's parameters


def theirs():
    return model(features, frames, flow, times, size)


def ours():
    return query(features, query.motion_features(frames, flow), times, size)


with torch.inference_mode():
    for name, decode in (("theirs", theirs), ("ours", ours)):
        decode()
        began = time.perf_counter()
        pictures = decode()
        print(f"{name}: {list(pictures.shape)} in {1e3 * (time.perf_counter() - began):.0f} ms")
    print(f"largest difference {(theirs() - ours()).abs().max():.1e}")
