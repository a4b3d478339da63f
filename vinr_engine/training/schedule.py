"""The learning rate as a function of the step, so that nothing of it needs saving."""

from __future__ import annotations

import math

from vinr_engine.training.config import Optimiser, Stage


def learning_rate(step: int, steps: int, o: Optimiser) -> float:
    """The rate of optimiser step `step`, counted from 0, of a run of `steps`.

    After a linear warm-up, either cosines from `lr` to `minimum`, each `period` steps long (the whole run if not
    given), after the last of which the rate stays; or, with `decay`, `lr` until a half cosine over the last `decay`.
    What comes before the decay does not depend on `steps`, so that such a run can be made longer.
    """
    if o.decay is not None:
        position, length = step - (steps - o.decay), max(o.decay, 1)
    else:
        length = o.period or steps
        position = length if step >= steps else step % length
    part = min(max(position / length, 0.0), 1.0)
    rate = o.minimum + (o.lr - o.minimum) * (1 + math.cos(math.pi * part)) / 2
    return rate * min(1.0, (step + 1) / (o.warmup + 1))


def stage_learning_rate(step: int, first: int, stage: Stage, steps: int, o: Optimiser) -> float:
    """The rate of step `step` of a run of `steps`, in a stage that began at `first`: the stage's own, if it has one."""
    if stage.lr is None:
        return learning_rate(step, steps, o)
    own = o.model_copy(update={"lr": stage.lr, "decay": stage.decay, "period": None})
    return learning_rate(step - first, stage.steps, own)
