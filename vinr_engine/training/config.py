"""The configuration of a run: what may stand in the YAML file, with its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from vinr_engine.errors import ConfigError, reason
from vinr_engine.models.network import DEFAULT, NetworkModule, networks
from vinr_engine.training.losses import LOSSES
from vinr_engine.training.published import is_published, translate

PRESETS = Path(__file__).parent / "presets"
Whole = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
# YAML reads a bare no as false.
Precision = Annotated[
    Literal["no", "bf16", "fp16", "float64"], BeforeValidator(lambda value: "no" if value is False else value)
]


class Section(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    """The name of a network, and its constructor's values, all of them once it is made."""

    model_config = ConfigDict(extra="allow")

    network: str = DEFAULT

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("network", DEFAULT)
        if name not in networks:
            raise ValueError(f"network: must be one of {', '.join(networks)}, got {name!r}")
        hints, parameters = get_type_hints(networks[name].__init__), signature(networks[name]).parameters
        fields: dict[str, Any] = {
            key: (hints[key], ... if p.default is p.empty else p.default) for key, p in parameters.items()
        }
        values = create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)
        try:
            checked = values.model_validate({key: value for key, value in given.items() if key != "network"})
        except ValidationError as error:
            raise ValueError(_first(error)) from None
        return {"network": name, **{key: getattr(checked, key) for key in fields}}

    def build(self) -> NetworkModule:
        """The network. Raises ValueError for values that make none."""
        return networks[self.network](**(self.model_extra or {}))


class Data(Section):
    """Where samples come from."""

    source: Literal["clips", "procedural", "stills"] = "clips"
    root: Path | None = None  # clips: a folder of folders of numbered frames
    names: Path | None = None  # clips: a file with a clip's name a line; all clips of the root if not given
    photos: Literal["training", "held_out"] = "training"  # procedural, stills
    folder: Path | None = None  # procedural, stills: of more photographs
    teacher: bool = False  # procedural, stills: at scale 4 with SPAN's pictures beside the true ones
    motion: Annotated[float, Field(ge=0, le=64)] = 16.0  # procedural: largest shift, in pixels of the targets

    @model_validator(mode="after")
    def _paths(self) -> Data:
        if self.source == "clips":
            if self.root is None:
                raise ValueError("root: needed where source is clips")
            if not self.root.is_dir():
                raise ValueError(f"root: no such folder: {self.root}")
            if self.names is not None and not self.names.is_file():
                raise ValueError(f"names: no such file: {self.names}")
        if self.teacher and self.source == "clips":
            raise ValueError("teacher: not of clips")
        if self.folder is not None and not self.folder.is_dir():
            raise ValueError(f"folder: no such folder: {self.folder}")
        return self


class Stage(Section):
    """A part of a run with samples and a loss of its own; see docs/network.md for the published two."""

    steps: Whole
    batch: Whole
    data: Data
    input_crop: Annotated[int, Field(ge=4, strict=True)] = 32  # side of the inputs
    scale: Positive | tuple[Positive, Positive] = 4.0  # targets over inputs; a range is drawn from once a batch
    largest_scale_share: Share = 0.0  # of a range: how often its end is taken
    whole_scale_share: Share = 0.0  # of the other scales of a range: how often the nearest whole number is taken
    target_shrink: Positive = 2.0  # clips: original over target
    targets: Whole = 1  # a sample
    # Of a sample: any of the nine; or one of the two ends, and others between; or both ends first, and others between.
    times: Literal["any", "end_and_between", "ends_and_between"] = "any"
    # Frames: both ends, each enlarged from itself alone; flow: without pictures; parts: the two at once, still cheaper
    # than pictures at all times.
    learn: Literal["pictures", "frames", "flow", "parts"] = "pictures"
    frozen: tuple[str, ...] = ()  # how names of parameters begin that stay as they are
    loss: str = "charbonnier"
    teacher_share: Share = 0.0  # of the loss, where samples have a teacher's pictures: how much compares with these
    luma: Share = 0.0  # of the loss: how much of it compares luma alone, as PSNR-Y does
    reduction: Literal["sum", "mean"] = "sum"
    lr: Positive | None = None  # the optimiser's if not given
    decay: Count = 0  # with lr: steps at the end in which it falls to the optimiser's minimum
    flow_weight: Annotated[float, Field(ge=0)] = 0.0  # procedural: of the mean error of the flow, in pixels

    @model_validator(mode="after")
    def _check(self) -> Stage:
        if self.loss not in LOSSES:
            raise ValueError(f"loss: must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if self.scales()[0] > self.scales()[1]:
            raise ValueError(f"scale: a range goes upwards, got {list(self.scales())}")
        if self.flow_weight and self.data.source != "procedural":
            raise ValueError("flow_weight: only procedural data has a known flow")
        if self.teacher_share and not self.data.teacher:
            raise ValueError("teacher_share: the data have no teacher")
        if self.data.source == "stills" and (self.learn != "frames" or self.targets != 2):
            raise ValueError("learn: stills have two targets, to learn frames")
        if self.learn in ("frames", "parts") and (self.data.source == "clips" or self.times != "ends_and_between"):
            raise ValueError(f"learn: {self.learn} needs procedural data or stills, and times ends_and_between")
        if self.learn in ("flow", "parts") and not self.flow_weight:
            raise ValueError(f"flow_weight: needed to learn {self.learn}")
        if self.times == "ends_and_between" and self.targets < 2:
            raise ValueError(f"targets: two ends are at least two, got {self.targets}")
        if self.targets > 9 or (self.times == "end_and_between" and self.targets > 8):
            raise ValueError(f"targets: a sample has nine frames, got {self.targets}")
        return self

    def scales(self) -> tuple[float, float]:
        """The lowest and the highest."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)


class Optimiser(Section):
    """Adam, or with `kernel_lr` Muon, and the learning rate; `vinr_engine.training.schedule` says how it runs."""

    lr: Positive = 1e-4
    sine_lr: Positive | None = None  # of the layers before a sine, which multiplies a step by 30; lr if not given
    kernel_lr: Positive | None = None  # of the kernels of convolutions, by Muon; all by Adam if not given
    minimum: Annotated[float, Field(ge=0)] = 1e-7
    betas: tuple[Share, Share] = (0.9, 0.99)
    warmup: Count = 0
    period: Whole | None = None
    decay: Whole | None = None
    clip: Positive | None = None  # largest norm of the gradient
    ema: Annotated[float, Field(ge=0, lt=1)] | None = None
    accumulate: Whole = 1  # batches a step

    @model_validator(mode="after")
    def _check(self) -> Optimiser:
        if self.period is not None and self.decay is not None:
            raise ValueError("decay: excludes period")
        return self


class Validation(Section):
    """Pictures that are decoded now and then; the first samples of a source, always the same."""

    every: Whole = 1000
    data: Data
    samples: Whole = 16
    input_crop: Annotated[int, Field(ge=4, strict=True)] = 32
    scale: Positive = 4.0
    target_shrink: Positive = 2.0
    images: Count = 4


class Config(Section):
    """A run: its stages follow each other under one schedule of the learning rate."""

    seed: Count = 0
    model: Model = Model()
    init: Path | None = None  # a checkpoint to start from
    scaled_initialisation: bool = False  # without init; see initialise.py
    frame_upsample: Literal[1, 4] = 1
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    optimiser: Optimiser = Optimiser()
    validation: Validation | None = None
    device: Literal["auto", "cpu"] = "auto"
    precision: Precision = "no"
    deterministic: bool = False  # a GPU repeats a run, by slower sums; a CPU does anyway, with as many threads
    workers: Count = 2
    checkpoint_every: Whole = 1000
    checkpoints_kept: Whole = 2
    log_every: Whole = 50
    bad_steps_allowed: Count = 20
    trackers: tuple[str, ...] = ("tensorboard",)

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.init is not None and not self.init.is_file():
            raise ValueError(f"init: no such file: {self.init}")
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(stage.steps for stage in self.stages)


def presets() -> list[str]:
    """The names that `load` takes for a preset."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(
    config: Path | None = None,
    preset: str | None = None,
    changes: Sequence[str] = (),
    data: Path | None = None,
    names: Path | None = None,
    photos: Path | None = None,
) -> Config:
    """The configuration of a YAML file or of a preset, with `changes` such as "optimiser.lr=2e-4".

    A file may also be a published one, such as train_zsm.yml. `data` and `names` are the root and the list of all
    stages that train on clips, `photos` the folder of all that train on photographs. Raises ConfigError: one line that
    names the key.
    """
    if (config is None) == (preset is None):
        raise ConfigError(f"give --config FILE or --preset, one of {', '.join(presets())}")
    if preset is not None:
        if preset not in presets():
            raise ConfigError(f"--preset must be one of {', '.join(presets())}, got {preset!r}")
        path = PRESETS / f"{preset}.yaml"
    else:
        assert config is not None
        path = config
    content = _read(path)
    if is_published(content):
        content = translate(content)
    for change in changes:
        _change(content, change)
    _point_to(content, ("clips",), {"root": data, "names": names})
    _point_to(content, ("procedural", "stills"), {"folder": photos})
    return parse(content, path.name if preset is None else f"preset {preset}")


def _point_to(content: Any, sources: tuple[str, ...], paths: dict[str, Path | None]) -> None:
    """Put `paths` into every stage of `content` that trains on one of `sources`."""
    stages = content.get("stages") if isinstance(content, dict) else None
    for stage in stages if isinstance(stages, list) else []:
        data = stage.get("data") if isinstance(stage, dict) else None
        if isinstance(data, dict) and data.get("source", "clips") in sources:
            data.update({key: str(path) for key, path in paths.items() if path is not None})


def parse(content: Any, name: str) -> Config:
    """A configuration from what YAML gave. Raises ConfigError, which begins with `name`."""
    if not isinstance(content, dict):
        raise ConfigError(f"{name}: must be a mapping of keys, got {type(content).__name__}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_first(error)}") from None


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {reason(error)}") from None


def _first(error: ValidationError) -> str:
    """The first fault: its key, and what is wrong."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"] if part not in ("float", "tuple[constrained-float, ...]"))
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}.{text}" if key else text
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    got = "" if fault["type"] == "missing" else f", got {fault['input']!r}"
    return f"{key}: {text[0].lower()}{text[1:]}{got}"


def _change(content: Any, change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise ConfigError(f"--set takes KEY=VALUE, got {change!r}")
    *parents, last = key.split(".")
    try:
        value = yaml.safe_load(text)
        for parent in parents:
            content = content[int(parent)] if isinstance(content, list) else content.setdefault(parent, {})
        if isinstance(content, list):
            content[int(last)] = value
        else:
            content[last] = value
    except (yaml.YAMLError, ValueError, IndexError, TypeError, AttributeError):
        raise ConfigError(f"--set: no such key: {key}") from None
