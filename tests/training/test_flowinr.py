"""A run of FlowINR: stages that learn parts of it, with rates of their own."""

import pytest
import torch

from training.runs import tiny, weights
from vinr_engine.errors import ConfigError
from vinr_engine.training.config import Optimiser
from vinr_engine.training.loop import Training, train
from vinr_engine.training.schedule import stage_learning_rate

MODEL = {"network": "FlowINR", "nf": 8, "blocks": 1, "merge_blocks": 1, "pyramid": [4, 4, 4]}
STILLS = {
    "steps": 2, "batch": 2, "data": {"source": "stills"}, "input_crop": 8, "scale": 2, "targets": 2,
    "times": "ends_and_between", "learn": "frames", "loss": "l1", "luma": 0.5, "reduction": "mean",
}  # fmt: skip
SCENES = {"steps": 2, "batch": 2, "data": {"source": "procedural", "motion": 4}, "input_crop": 16, "scale": 2,
          "reduction": "mean", "flow_weight": 0.1}  # fmt: skip
PARTS = ("enlarger", "motion", "merge")


def changed_by(*stages_and_folder):
    """Which of the three parts a run changes."""
    *stages, folder = stages_and_folder
    run = Training(tiny(model=MODEL, stages=stages, optimiser__ema=None), folder, say=lambda text: None)
    before = weights(run.state.model)
    after = weights(run.run())
    return {
        part for part in PARTS if any(not torch.equal(v, after[k]) for k, v in before.items() if k.startswith(part))
    }


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        (STILLS, {"enlarger"}),
        ({**SCENES, "learn": "flow"}, {"motion"}),
        ({**SCENES, "learn": "parts", "targets": 3, "times": "ends_and_between"}, {"enlarger", "motion"}),
        (SCENES, {*PARTS}),
        ({**SCENES, "frozen": ["enlarger", "motion.pyramid"]}, {"motion", "merge"}),
        ({**SCENES, "frozen": ["enlarger", "motion"]}, {"merge"}),
    ],
    ids=["frames", "flow", "parts", "pictures", "frozen", "merge"],
)
def test_a_stage_changes_what_it_learns(stage, parts, tmp_path):
    assert changed_by(stage, tmp_path) == parts


def test_what_was_frozen_thaws(tmp_path):
    assert changed_by({**SCENES, "frozen": ["enlarger"]}, SCENES, tmp_path) == {*PARTS}


def test_stages_in_turn_with_validation(tmp_path):
    said = []
    config = tiny(
        model=MODEL,
        stages=[STILLS, {**SCENES, "learn": "flow"}, SCENES],
        validation={"every": 3, "data": {"source": "procedural", "photos": "held_out"}, "samples": 1, "input_crop": 8},
    )
    train(config, tmp_path, say=said.append)
    assert any("flow off by" in line for line in said)
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    assert header.endswith("flow_error")
    assert len([row for row in rows if not row.endswith(",")]) == 2


def test_errors(tmp_path):
    for stage, message in (
        ({**SCENES, "frozen": ["decoder"]}, "frozen: no parameter begins with 'decoder'"),
        ({**STILLS, "learn": "pictures"}, "learn: stills have two targets"),
        ({**SCENES, "learn": "flow", "flow_weight": 0}, "flow_weight: needed to learn flow"),
        ({**SCENES, "learn": "parts"}, "learn: parts needs"),
        ({**STILLS, "data": {"source": "stills", "folder": "/nowhere/at/all"}}, "folder: no such folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            changed_by(stage, tmp_path)
    with pytest.raises(ConfigError, match="this VideoINR takes pictures, got 'frames'"):
        train(tiny(stages=[STILLS]), tmp_path)


def test_a_stage_has_a_rate_of_its_own():
    config = tiny(model=MODEL, stages=[{**STILLS, "steps": 10, "lr": 0.5, "decay": 4}, SCENES])
    o = Optimiser(lr=0.1, minimum=0.0, period=4)
    rates = [stage_learning_rate(k, 20, config.stages[0], 100, o) for k in range(20, 31)]
    assert rates[:7] == [0.5] * 7
    assert rates[8] == pytest.approx(0.25)
    assert rates[10] == pytest.approx(0)
    assert stage_learning_rate(1, 0, config.stages[1], 100, o) == pytest.approx(0.1 * 0.853553, rel=1e-4)
    constant = tiny(model=MODEL, stages=[{**STILLS, "lr": 0.5}]).stages[0]
    assert stage_learning_rate(1, 0, constant, 2, o) == 0.5
