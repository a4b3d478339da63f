"""One list of arguments for fourier_mlp: it drives oracle, gradients, opcheck and compilation."""

import itertools
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

import vinr_engine as vinr

NAMES = ("coef", "freq", "relative", "phase", "weights", "cell")  # tensors but for index and layers


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 2
    points: int = 15  # two images are two tiles of 12 points and a part
    neighbours: int = 4
    rows: int = 11
    width: int = 6
    layers: tuple = (8, 3)
    phase: bool = True
    cell: str = ""  # one a "point" or a "picture"
    weights: bool = True
    outside: bool = False  # some indices lie there
    joined: bool = False  # both maps are parts of one tensor
    sliced: bool = False  # tensors are strided views

    def arguments(self, dtype=torch.float64, seed=0):
        """Of fourier_mlp by name, with `layers`. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape, scale=1.0):
            wider = (*shape[:-1], 2 * shape[-1]) if self.sliced else shape
            drawn = ((torch.rand(wider, generator=rng) * 2 - 1) * scale).to(dtype)
            return drawn[..., ::2] if self.sliced else drawn

        B, N, k, D = self.batch, self.points, self.neighbours, self.width
        if self.joined:
            coef, freq = draw(B, self.rows, 2 * D).split(D, 2)
        else:
            coef, freq = draw(B, self.rows, D), draw(B, self.rows, D)
        low, high = (-3, self.rows + 3) if self.outside else (0, self.rows)
        index = torch.randint(low, high, (B, N, k), generator=rng)
        cell = draw(B, N if self.cell == "point" else 1, 3) if self.cell else None
        return dict(
            coef=coef,
            freq=freq,
            index=index,
            relative=draw(B, N, k, 2, scale=2.0),
            phase=draw(D // 2, *([3] if self.cell else [])) if self.phase else None,
            layers=[(draw(b, a, scale=(3 / a) ** 0.5), draw(b)) for a, b in itertools.pairwise((D, *self.layers))],
            weights=draw(B, N, k) if self.weights else None,
            cell=cell,
        )


SAMPLES = [
    Sample("plain"),
    Sample("whole", width=32, layers=(32, 32, 3)),
    Sample("cell_of_points", cell="point"),
    Sample("cell_of_pictures", cell="picture", layers=(5, 7, 3), width=34),
    Sample("no_phase", phase=False),
    Sample("texture", neighbours=1, weights=False, phase=False, layers=(64,), width=64, points=70),
    Sample("linear_mix", layers=(5,)),
    Sample("weighted_one", neighbours=1, points=50),
    Sample("five", neighbours=5, width=2, layers=(1,)),
    Sample("thirty_two", neighbours=32, points=3, layers=(20, 17)),
    Sample("outside", outside=True),
    Sample("no_rows", rows=0, outside=True),
    Sample("joined", joined=True, width=64, layers=(48, 3)),
    Sample("sliced", sliced=True, joined=True),
    Sample("one_point", batch=1, points=1, cell="point"),
    Sample("published", batch=1, points=26, width=256, layers=(256, 256, 256, 3), rows=30),
]
EMPTY = [Sample("empty_batch", batch=0), Sample("no_points", points=0, cell="point")]
SMALL = [replace(s, points=min(s.points, 9)) for s in SAMPLES if s.width <= 64]


def flat(arguments):
    """Every floating-point tensor of a call."""
    found = [arguments[name] for name in NAMES if arguments[name] is not None]
    return [*found, *(t for layer in arguments["layers"] for t in layer)]


def with_tensors(arguments, tensors):
    """The same call with other tensors, in the order of `flat`."""
    tensors = iter(tensors)
    named = {name: next(tensors) for name in NAMES if arguments[name] is not None}
    layers = [(next(tensors), next(tensors)) for _ in arguments["layers"]]
    return arguments | named | dict(layers=layers)


def call(arguments):
    return vinr.ops.fourier_mlp(**arguments)


def gradients(arguments, wanted=None):
    """Of a random function of the output, of every tensor or of those of `flat` that `wanted` numbers."""
    leaves = [t.detach().clone().requires_grad_(wanted is None or i in wanted) for i, t in enumerate(flat(arguments))]
    out = call(with_tensors(arguments, leaves))
    weights = torch.rand(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out)
    of = [t for t in leaves if t.requires_grad]
    return torch.autograd.grad(out, of, weights, materialize_grads=True)


def on_reference(function, *arguments):
    with vinr.backend("reference"):
        return function(*arguments)


def op_arguments(arguments):
    """Of the torch op, whose width is a multiple of 32."""
    a = arguments
    half = a["coef"].shape[2] // 2
    more = -half % 16

    def padded(t):
        return F.pad(t.unflatten(-1, (2, half)), (0, more)).flatten(-2)

    phase = a["relative"].new_zeros(half) if a["phase"] is None else a["phase"]
    phase = F.pad(phase if a["cell"] is not None else phase[:, None], (0, 0, 0, more))
    layers = [t for layer in a["layers"] for t in layer]
    layers[0] = padded(layers[0])
    return padded(a["coef"]), padded(a["freq"]), a["index"], a["relative"], phase, a["cell"], layers, a["weights"]
