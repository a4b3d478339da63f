"""Configurations: defaults, presets, published option files, and one-line errors that name the key."""

from pathlib import Path

import pytest
import yaml

import vinr_engine as vinr
from training.runs import content, tiny, write
from vinr_engine.errors import ConfigError
from vinr_engine.training import config

PUBLISHED = """
name: VideoINR
model: VideoSR
scale: 4
gpu_ids: [0]
datasets:
  train:
    name: Adobe
    mode: {mode}
    interval_list: [1]
    dataroot_GT: {root}
    dataroot_LQ: {root}
    N_frames: 9
    use_shuffle: true
    n_workers: 3
    batch_size: 24
    GT_size: 128
    LQ_size: 32
    use_flip: true
    use_rot: true
    color: RGB
network_G: {{which_model_G: LIIF, nf: 64, nframes: 7, groups: 8, front_RBs: 5, back_RBs: 40}}
path: {{pretrain_model_G: ~, strict_load: true, resume_state: ~}}
train:
  lr_G: !!float 1e-4
  lr_scheme: CosineAnnealingLR_Restart
  beta1: 0.9
  beta2: 0.99
  niter: 600000
  warmup_iter: -1
  T_period: [150000, 150000, 150000, 150000]
  restarts: [150000, 300000, 450000]
  restart_weights: [1, 1, 1]
  eta_min: !!float 1e-7
  pixel_criterion: cb
  pixel_weight: 1.0
  val_freq: !!float 5e3
  manual_seed: 0
logger: {{print_freq: 100, save_checkpoint_freq: !!float 5e3}}
"""


@pytest.mark.parametrize(
    ("changes", "text"),
    [(dict(stepz=1), "test: stepz: unknown key"), (dict(optimiser__lr="fast"), "optimiser.lr: "),
     (dict(optimiser__lr=-1), "optimiser.lr: "), (dict(model__nf=True), "model.nf: "),
     (dict(model__nf="64"), "model.nf: "), (dict(model__depth=3), "model.depth: unknown key"),
     (dict(stages=[]), "stages: "), (dict(stages__0__steps=0), "stages.0.steps: "),
     (dict(stages__0__loss="ssim"), "stages.0.loss: must be one of charbonnier"),
     (dict(stages__0__scale=[3, 2]), "stages.0.scale: a range goes upwards"),
     (dict(stages__0__data={"source": "clips"}), "stages.0.data.root: needed"),
     (dict(stages__0__data={"source": "clips", "root": "/nowhere/at/all"}), "stages.0.data.root: no such folder"),
     (dict(stages__0__targets=10), "stages.0.targets: "), (dict(init="/nowhere.pth"), "init: no such file"),
     (dict(stages__0__data={"source": "clips", "root": ".", "teacher": True}), "stages.0.data.teacher: not of clips"),
     (dict(stages__0__teacher_share=0.5), "stages.0.teacher_share: the data have no teacher"),
     (dict(optimiser__decay=3), "optimiser.decay: excludes period"), (dict(precision="fp8"), "precision: ")],
)  # fmt: skip
def test_errors_name_the_key(changes, text):
    with pytest.raises(ConfigError) as caught:
        tiny(**changes)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files(tmp_path):
    assert config.load(write(tmp_path / "a.yaml")).steps == 6
    assert config.load(write(tmp_path / "a.yaml"), changes=["stages.0.steps=9", "optimiser.lr=0.5"]).steps == 9
    for text, wanted in (("a: [", "not YAML"), ("- 1", "must be a mapping"), ("!!python/object:os.system x", "YAML")):
        (tmp_path / "b.yaml").write_text(text)
        with pytest.raises(ConfigError, match=wanted):
            config.load(tmp_path / "b.yaml")
    for arguments, wanted in (
        ((tmp_path / "none.yaml",), "No such file"), ((None, None), "preset"), ((None, "huge"), "small"),
        ((tmp_path / "a.yaml", None, ["x"]), "KEY=VALUE"),
        ((tmp_path / "a.yaml", None, ["stages.7.x=1"]), "stages.7.x"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=wanted):
            config.load(*arguments)


@pytest.mark.parametrize("name", config.presets())
def test_presets(name, tmp_path):
    loaded = config.load(preset=name, data=tmp_path)
    assert loaded.steps == {"stage1": 450_000, "stage2": 150_000, "both": 600_000}.get(name, loaded.steps)
    if name == "flowinr":
        assert loaded.model.network == "FlowINR"
    elif name in ("small", "gpu"):  # both make one network
        assert loaded.model == config.load(preset="small").model
        assert Path(config.load(preset=name).validation.data.photos).name == "held_out"
    else:
        assert loaded.model == config.Model()
        with pytest.raises(ConfigError, match="root: needed"):
            config.load(preset=name)


def test_no_means_no_though_yaml_reads_it_as_false():
    changes = ["precision=no", "stages.0.data={source: procedural}"]
    assert config.load(preset="stage1", changes=changes).precision == "no"
    with pytest.raises(ConfigError, match="precision: input should be 'no', 'bf16', 'fp16' or 'float64', got True"):
        config.load(preset="stage1", changes=["precision=yes", changes[1]])


@pytest.mark.parametrize(("mode", "targets", "reduction"), [("Adobe", 1, "sum"), ("Adobe_a", 3, "mean")])
def test_published_options(tmp_path, mode, targets, reduction):
    path = tmp_path / "train_zsm.yml"
    path.write_text(PUBLISHED.format(mode=mode, root=tmp_path))
    loaded = config.load(path)
    (stage,) = loaded.stages
    assert (stage.steps, stage.batch, stage.input_crop, stage.targets) == (600_000, 24, 32, targets)
    assert (stage.loss, stage.reduction, stage.data.root) == ("charbonnier", reduction, tmp_path)
    assert (loaded.optimiser.period, loaded.optimiser.minimum, loaded.optimiser.lr) == (150_000, 1e-7, 1e-4)
    assert (loaded.model, loaded.workers, loaded.checkpoint_every) == (config.Model(), 3, 5000)
    for old, new, wanted in (
        ("niter", "n_iter", "train.n_iter: unknown key"), ("GT_size: 128", "GT_size: big", "datasets.train.GT_size"),
        ("pixel_criterion: cb", "pixel_criterion: gan", "train.pixel_criterion"), ("Adobe", "Vimeo", "mode"),
    ):  # fmt: skip
        path.write_text(PUBLISHED.format(mode=mode, root=tmp_path).replace(old, new))
        with pytest.raises(ConfigError, match=wanted):
            config.load(path)


def test_what_a_run_writes_can_be_read(tmp_path):
    loaded = tiny()
    text = yaml.safe_dump(loaded.model_dump(mode="json"))
    assert config.parse(yaml.safe_load(text), "again") == loaded
    assert config.parse(content(), "again") == loaded


def test_scaled_initialisation_keeps_the_size_of_what_lies_between():
    import torch

    torch.manual_seed(0)
    model = vinr.VideoINR(nf=16, groups=4, front_blocks=1, back_blocks=1, recurrent=False)
    frames = torch.rand(1, 2, 3, 16, 16)
    model.initialise()
    with torch.inference_mode():
        spread = model.encode(frames).std((0, 2, 3, 4))
    assert 0.1 < spread.min() <= spread.max() < 10
