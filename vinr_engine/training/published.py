"""Reads the option files that the published recipe is written in (`train_zsm.yml`, in the layout of BasicSR's options).

Only names of keys are shared with those files. Whatever has a meaning here is translated; keys about logging, GPUs and
caches have none and are left; others are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vinr_engine.errors import ConfigError

NO_MEANING = {
    "": {"name", "use_tb_logger", "model", "distortion", "scale", "gpu_ids", "dist", "is_train", "logger", "path"},
    "datasets": {"val"},
    "datasets.train": {
        "name", "dataroot_LQ", "cache_keys", "cache_dir", "N_frames", "use_shuffle", "use_flip", "use_rot", "color",
        "interval_list", "random_reverse", "border_mode", "data_type", "LQ_size", "phase", "scale",
    },
    "network_G": {"which_model_G", "nframes", "mid_RBs"},
    "train": {"lr_scheme", "restarts", "restart_weights", "weight_decay_G", "val_freq", "clear_state", "pixel_weight"},
    "path": {"strict_load", "resume_state", "root", "experiments_root"},
    "logger": set(),
}  # fmt: skip
CRITERIA = {"cb": "charbonnier", "l1": "l1", "l2": "l2", "lp": "laplacian"}
# Published second stage: a batch has one scale, a sample three targets, the loss is a mean.
MODES: dict[str, dict[str, Any]] = {
    "Adobe": {"scale": 4.0, "targets": 1, "reduction": "sum"},
    "Adobe_a": {"scale": [2.0, 4.0], "targets": 3, "reduction": "mean"},
}


class _Options:
    """A mapping of the file whose keys are taken one by one, so that what is left over can be named."""

    def __init__(self, content: Any, key: str) -> None:
        if not isinstance(content, Mapping):
            raise ConfigError(f"{key or 'options'}: must be a mapping, got {type(content).__name__}")
        self.rest, self.key = dict(content), key

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        value = self.rest.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{self.name(name)}: {value!r} is of the wrong type")
        return value

    def name(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key

    def section(self, name: str) -> _Options:
        return _Options(self.rest.pop(name, {}) or {}, self.name(name))

    def finish(self) -> None:
        unknown = [str(key) for key in self.rest if key not in NO_MEANING[self.key]]
        if unknown:
            raise ConfigError(f"{self.name(unknown[0])}: unknown key")


def is_published(content: Any) -> bool:
    """Whether a YAML mapping is such a file."""
    return isinstance(content, Mapping) and "network_G" in content


def translate(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same run as keys of `vinr_engine.training.config.Config`. Raises ConfigError naming a key."""
    options = _Options(content, "")
    datasets, network, train = options.section("datasets"), options.section("network_G"), options.section("train")
    paths, logger = options.section("path"), options.section("logger")
    data = datasets.section("train")

    mode = data.take("mode", str, "Adobe")
    if mode not in MODES:
        raise ConfigError(f"datasets.train.mode: must be one of {', '.join(MODES)}, got {mode!r}")
    criterion = train.take("pixel_criterion", str, "cb")
    if criterion not in CRITERIA:
        raise ConfigError(f"train.pixel_criterion: must be one of {', '.join(CRITERIA)}, got {criterion!r}")
    target_crop = data.take("GT_size", int, 128)
    steps = int(train.take("niter", (int, float), 600_000))
    stage: dict[str, Any] = {
        "steps": steps,
        "batch": data.take("batch_size", int, 24),
        "data": {"source": "clips", "root": data.take("dataroot_GT", str)},
        "input_crop": target_crop // 4,
        "loss": CRITERIA[criterion],
        **MODES[mode],
    }
    names = data.take("cache_keys", str)
    if names is not None and names.endswith(".txt"):
        stage["data"]["names"] = names
    periods = train.take("T_period", list, [])
    if len(set(periods)) > 1:
        raise ConfigError(f"train.T_period: periods of one length are known here, got {periods}")
    model = {
        ours: network.take(theirs, int, default)
        for ours, theirs, default in (
            ("nf", "nf", 64), ("groups", "groups", 8), ("front_blocks", "front_RBs", 5), ("back_blocks", "back_RBs", 40)
        )
    }  # fmt: skip
    optimiser = {
        "lr": float(train.take("lr_G", (int, float, str), 1e-4)),
        "minimum": float(train.take("eta_min", (int, float, str), 1e-7)),
        "betas": [train.take("beta1", float, 0.9), train.take("beta2", float, 0.99)],
        "warmup": max(0, train.take("warmup_iter", int, 0)),
        "period": int(periods[0]) if periods else None,
    }
    result: dict[str, Any] = {
        "seed": train.take("manual_seed", int, 0),
        "model": model,
        "init": paths.take("pretrain_model_G", str),
        "frame_upsample": 1,
        "stages": [stage],
        "optimiser": optimiser,
        "workers": data.take("n_workers", int, 2),
        "log_every": logger.take("print_freq", int, 100),
        "checkpoint_every": int(logger.take("save_checkpoint_freq", (int, float), 5000)),
    }
    for section in (options, datasets, data, network, train, paths, logger):
        section.finish()
    return result
