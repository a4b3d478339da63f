"""BF-STVSR's query in a project that has its own network: two lines, and the numbers stay the same.

    python examples/bf_stvsr.py

The project here is a stand-in with the published parameters' names, which decodes features as the paper writes it.
"""

import time

import torch
from torch import nn

from vinr_engine import reference
from vinr_engine.drop_in.bf_stvsr import BFQuery


class Theirs(nn.Module):
    """A project's network: features of an encoder come in, pictures go out. Names are those of its checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        for name, part in BFQuery().named_children():
            self.add_module(name, part)
        self.alpha = nn.Parameter(torch.tensor([-20.0]))

    def forward(self, features, times, size):
        return reference.bf_query(self.state_dict(), features, times[:, None], size).rgb.clamp(0, 1)


torch.manual_seed(0)
model = Theirs()
features, times, size = torch.rand(1, 3, 64, 24, 32), torch.tensor([0.25, 0.5, 0.75]), (96, 128)
query = BFQuery.of(model)  # it shares the model's parameters
with torch.inference_mode():
    for name, decode in (("theirs", model), ("ours", query)):
        decode(features, times, size)
        began = time.perf_counter()
        pictures = decode(features, times, size)
        print(f"{name}: {list(pictures.shape)} in {1e3 * (time.perf_counter() - began):.0f} ms")
    difference = (model(features, times, size) - query(features, times, size)).abs().max()
    print(f"largest difference {difference:.1e}")
