"""Small runs for the tests of training."""

import copy

import numpy as np
import yaml
from PIL import Image

from vinr_engine.training import config

TINY = {
    "seed": 3,
    "model": {
        "nf": 4, "groups": 2, "front_blocks": 1, "back_blocks": 1, "hr_features": 4,
        "feat_hidden": [8], "flow_hidden": [8], "encode_hidden": [8],
    },
    "device": "cpu",
    "workers": 0,
    "stages": [
        {"steps": 6, "batch": 2, "data": {"source": "procedural", "motion": 4}, "input_crop": 8, "scale": [2, 3],
         "targets": 2, "reduction": "mean", "flow_weight": 0.01},
    ],
    "optimiser": {"lr": 1.0e-3, "period": 4, "ema": 0.9, "clip": 1.0},
    "checkpoint_every": 2,
    "checkpoints_kept": 2,
    "log_every": 1,
    "trackers": [],
}  # fmt: skip


def content(**changes):
    """The keys of a tiny run; a change's name joins keys by two underscores: optimiser__lr=1."""
    result = copy.deepcopy(TINY)
    for key, value in changes.items():
        *parents, last = key.split("__")
        inner = result
        for parent in parents:
            inner = inner[int(parent) if parent.isdigit() else parent]
        inner[last] = value
    return result


def tiny(**changes):
    return config.parse(content(**changes), "test")


def write(path, **changes):
    path.write_text(yaml.safe_dump(content(**changes)))
    return path


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def write_clip(folder, frames=10, size=(40, 32), name="{}.png", seed=0):
    """Numbered frames of noise; their folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(frames):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name.format(number))
    return folder
