"""One list of arguments for sampled_mlp: it drives oracle, gradients, opcheck and compilation."""

import itertools
from dataclasses import dataclass, replace

import torch

import vinr_engine as vinr


@dataclass(frozen=True)
class Sample:
    name: str
    batch: int = 2
    points: int = 29  # two images are a tile of 48 points and a part
    maps: tuple = ((4, 7),)  # height and width of each
    modes: tuple | None = None
    width: int = 6
    inputs: int | None = 3
    bias: bool = True
    layers: tuple = (8, 3)
    activation: str = "sine"
    omega: float = 3.0
    sliced: bool = False  # tensors are strided views
    reach: float = 1.3  # positions are drawn from this much of the map's size around its centre

    def arguments(self, dtype=torch.float64, seed=0):
        """Positional and keyword arguments of sampled_mlp. Every number is the same in float32 and in float64."""
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape, scale=1.0):
            wider = (*shape[:-1], 2 * shape[-1]) if self.sliced else shape
            drawn = ((torch.rand(wider, generator=rng) * 2 - 1) * scale).to(dtype)
            return drawn[..., ::2] if self.sliced else drawn

        def layer(a, b):
            return draw(b, a, scale=(3 / max(a, 1)) ** 0.5), draw(b)

        maps = [draw(self.batch, self.width, *size) for size in self.maps]
        positions = [
            (draw(self.batch, self.points, 2) * self.reach + 1) / 2 * torch.tensor(size, dtype=dtype) - 0.5
            for size in self.maps
        ]
        widths = (self.width, *self.layers)
        layers = [layer(a, b) for a, b in itertools.pairwise(widths)]
        x, x_weight = None, None
        if self.inputs is not None:
            x, x_weight = draw(self.batch, self.points, self.inputs), draw(self.width, self.inputs)
        options = dict(
            x=x,
            x_weight=x_weight,
            bias=draw(self.width) if self.bias else None,
            modes=self.modes,
            activation=self.activation,
            omega=self.omega,
        )
        return (maps, positions, layers), options


SAMPLES = [
    Sample("plain"),
    Sample("relu", activation="relu"),
    Sample("gelu", activation="gelu"),
    Sample("fast_sine", omega=30.0, layers=(16,)),
    Sample("several_maps", maps=((4, 7), (1, 1), (9, 2)), width=20, layers=(33, 5)),
    Sample("nearest", modes=("nearest",), activation="relu"),
    Sample("both_modes", maps=((4, 7), (3, 5)), modes=("nearest", "bilinear")),
    Sample("no_maps", maps=()),
    Sample("no_x", inputs=None),
    Sample("no_inputs", inputs=0),
    Sample("many_inputs", inputs=37, activation="relu"),
    Sample("no_bias", bias=False),
    Sample("no_layers", layers=()),
    Sample("one_layer", layers=(1,), activation="gelu"),
    Sample("deep", layers=(5, 33, 16, 1, 70, 3), activation="relu", width=1),
    Sample("whole_vectors", width=64, layers=(64, 256, 3), activation="gelu"),
    Sample("wide", width=80, layers=(96, 17), activation="relu"),
    Sample("one_point", batch=1, points=1),
    Sample("whole_tile", batch=1, points=48),
    Sample("several_tiles", batch=3, points=70),
    Sample("sliced", sliced=True, width=16),
    Sample("far_positions", reach=50.0),
]
EMPTY = [Sample("empty_batch", batch=0), Sample("no_points", points=0), Sample("neither", maps=(), points=0)]
SMALL = [replace(s, points=25) if s.points > 25 else s for s in SAMPLES if s.width <= 20 and len(s.layers) < 4]


def flat(arguments):
    """Every tensor of a call."""
    (maps, positions, layers), options = arguments
    rest = [options[name] for name in ("x", "x_weight", "bias")]
    return [*maps, *positions, *(t for layer in layers for t in layer), *(t for t in rest if t is not None)]


def with_tensors(arguments, tensors):
    """The same call with other tensors, in the order of `flat`."""
    (maps, positions, layers), options = arguments
    tensors = iter(tensors)
    maps, positions = ([next(tensors) for _ in group] for group in (maps, positions))
    layers = [(next(tensors), next(tensors)) for _ in layers]
    rest = {name: next(tensors) for name in ("x", "x_weight", "bias") if options[name] is not None}
    return (maps, positions, layers), options | rest


def call(arguments):
    return vinr.ops.sampled_mlp(*arguments[0], **arguments[1])


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
    (maps, positions, layers), o = arguments
    return (
        [m.permute(0, 2, 3, 1) for m in maps],
        positions,
        [mode == "nearest" for mode in o["modes"] or ["bilinear"] * len(maps)],
        *(o[name] for name in ("x", "x_weight", "bias")),
        [t for layer in layers for t in layer],
        o["activation"],
        o["omega"],
    )
