"""The loop: a run repeats, resumes, skips what is not finite, and says in one line what went wrong."""

import csv
import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import safetensors.torch
import torch

import vinr_engine as vinr
from training.runs import tiny, weights, write, write_clip
from vinr_engine.errors import ConfigError, DataError, DivergedError, StateError, UsageError
from vinr_engine.training import loop, state


def quiet(text):
    pass


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rows(folder):
    with open(folder / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_run_repeats_and_resumes(tmp_path):
    whole = weights(loop.train(tiny(), tmp_path / "whole", say=quiet))
    assert same(whole, weights(loop.train(tiny(), tmp_path / "again", say=quiet)))
    assert same(whole, weights(vinr.VideoINR.from_checkpoint(tmp_path / "whole" / "weights.safetensors")))
    assert len({row["loss"] for row in rows(tmp_path / "whole")}) == 6
    assert [p.name for p in state.states(tmp_path / "whole" / "states")] == ["step_00000004", "step_00000006"]
    # Stopped after four of the six steps, with a log that had gone on.
    run = loop.Training(tiny(), tmp_path / "part", quiet)
    run._prepare_folder()
    run._run_stage(0, tiny().stages[0], 0, 5)
    assert len(rows(tmp_path / "part")) == 5
    assert same(whole, weights(loop.train(tiny(), tmp_path / "part", resume=True, say=quiet)))
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
    other = weights(loop.train(tiny(seed=4), tmp_path / "other", say=quiet))
    assert not same(whole, other)


def test_minutes_end_a_run_with_a_state(tmp_path, monkeypatch):
    whole = weights(loop.train(tiny(), tmp_path / "whole", say=quiet))
    out, said = tmp_path / "part", []
    loop.train(tiny(), out, say=said.append, minutes=1e-9)
    assert [p.name for p in state.states(out / "states")] == ["step_00000000"]
    assert said[-1] == "time is up at step 0 of 6; --resume continues"
    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_time_is_up", lambda self: self.state.step >= 3)
        loop.train(tiny(log_every=2), out, resume=True, say=said.append, minutes=1)
    assert [row["step"] for row in rows(out)] == ["2", "3"]  # the last line before time was up too
    assert same(whole, weights(loop.train(tiny(), out, resume=True, say=said.append, minutes=10)))
    assert not said[-1].startswith("time is up")
    for minutes in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--minutes must be more than 0"):
            loop.train(tiny(), tmp_path / "none", say=quiet, minutes=minutes)


def test_a_deterministic_run_leaves_torch_as_it_was(tmp_path, monkeypatch):
    seen = []
    step = loop.Training._step

    def watched(self, *arguments):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(self, *arguments)

    monkeypatch.setattr(loop.Training, "_step", watched)
    loop.train(tiny(deterministic=True), tmp_path / "a", say=quiet)
    assert seen == [True] * 6
    assert not torch.are_deterministic_algorithms_enabled()


def test_workers_accumulation_stages_and_validation(tmp_path):
    stage = tiny().stages[0].model_dump(exclude_defaults=True)
    changes = dict(
        stages=[{**stage, "steps": 2}, {**stage, "steps": 1, "loss": "laplacian", "times": "end_and_between"}],
        validation={"every": 2, "data": {"source": "procedural", "photos": "held_out"}, "samples": 2, "input_crop": 8},
        optimiser={"accumulate": 2, "warmup": 1, "decay": 2},
    )
    plain = weights(loop.train(tiny(**changes), tmp_path / "a", say=quiet))
    config = tiny(**changes, workers=2, trackers=["tensorboard"])
    assert same(plain, weights(loop.train(config, tmp_path / "b", say=quiet)))
    logged = rows(tmp_path / "b")
    assert [row["psnr_end"] != "" for row in logged] == [False, True, True]
    assert float(logged[1]["psnr_end"]) > 3
    assert sorted(p.name for p in (tmp_path / "b" / "pictures").iterdir()) == ["step_00000002.png", "step_00000003.png"]
    assert list((tmp_path / "b").rglob("events.out.tfevents.*"))
    assert not list((tmp_path / "a").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_accumulated_batches_are_one_large_batch(tmp_path, reduction, monkeypatch):
    """Halves of a batch, one after the other, give the gradient of the whole."""
    changes = dict(stages__0__reduction=reduction, stages__0__scale=2, precision="float64", optimiser={"lr": 1e-3})
    whole = weights(loop.train(tiny(**changes, stages__0__steps=3), tmp_path / "whole", say=quiet))
    original = loop.Batches

    class Halves:
        def __init__(self, stage, source, seed, rank, world):
            self.halves = [original(tiny(**changes).stages[0], source, seed, half, 2) for half in (0, 1)]

        def __getitem__(self, k):
            return self.halves[k % 2][k // 2]

    monkeypatch.setattr(loop, "Batches", Halves)
    changes["optimiser"] = {"lr": 1e-3, "accumulate": 2}
    halves = weights(loop.train(tiny(**changes, stages__0__steps=3), tmp_path / "halves", say=quiet))
    for name, expected in whole.items():
        torch.testing.assert_close(halves[name], expected, rtol=0, atol=1e-9)


def test_init(tmp_path):
    first = loop.train(tiny(), tmp_path / "first", say=quiet)
    file = tmp_path / "first" / "weights.safetensors"
    run = loop.Training(tiny(init=str(file)), tmp_path / "second", quiet)
    assert same(weights(run.state.model), weights(first))
    with pytest.raises(ConfigError, match="another model: nf 4, not 8"):
        loop.Training(tiny(init=str(file), model__nf=8), tmp_path / "third", quiet)
    file.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"init: .*safetensors"):
        loop.Training(tiny(init=str(file)), tmp_path / "third", quiet)


def test_batches_without_a_finite_loss_are_skipped_counted_and_saved(tmp_path, monkeypatch):
    original = loop.Batches.__getitem__
    bad = {1}

    def poisoned(self, k):
        batch = original(self, k)
        if k in bad:
            batch["target"][0, 0, 0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(loop.Batches, "__getitem__", poisoned)
    trained = loop.train(tiny(bad_steps_allowed=1), tmp_path / "a", say=quiet)
    assert all(tensor.isfinite().all() for tensor in trained.state_dict().values())
    assert [row["bad_steps"] for row in rows(tmp_path / "a")] == ["0", "1", "1", "1", "1", "1"]
    (saved,) = (tmp_path / "a" / "bad_batches").iterdir()
    assert safetensors.torch.load_file(saved)["0.target"].isnan().sum() == 1
    bad.update(range(2, 6))
    with pytest.raises(DivergedError, match="2 steps had no finite loss"):
        loop.train(tiny(bad_steps_allowed=1), tmp_path / "b", say=quiet)
    assert len(state.states(tmp_path / "b" / "states")) == 1


def test_states_are_guarded(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(StateError, match="no state to resume"):
        loop.train(tiny(), out, resume=True, say=quiet)
    loop.train(tiny(), out, say=quiet)
    with pytest.raises(StateError, match="holds a run already"):
        loop.train(tiny(), out, say=quiet)
    with pytest.raises(StateError, match="another model: nf 4, not 8"):
        loop.train(tiny(model__nf=8), out, resume=True, say=quiet)
    newest = state.states(out / "states")[-1]
    (newest / "optimiser.safetensors").write_bytes(b"")
    with pytest.raises(StateError, match="cannot be resumed"):
        loop.train(tiny(), out, resume=True, say=quiet)
    (newest / "optimiser.safetensors").unlink()
    with pytest.raises(StateError, match="not a complete state"):
        loop.train(tiny(), out, resume=True, say=quiet)


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    original = safetensors.torch.save_file

    def full(tensors, path, *arguments, **options):
        if "step_00000004" in str(path) and "optimiser" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(tensors, path, *arguments, **options)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(StateError, match="No space left on device; older states are kept"):
        loop.train(tiny(), tmp_path / "run", say=quiet)
    assert [p.name for p in (tmp_path / "run" / "states").iterdir()] == ["step_00000002"]
    monkeypatch.setattr(safetensors.torch, "save_file", original)
    loop.train(tiny(), tmp_path / "run", resume=True, say=quiet)


def test_a_worker_that_dies(tmp_path, monkeypatch):
    original = loop.Batches.__getitem__

    def dying(self, k):
        if k == 9:  # some batches are made ahead
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, k)

    monkeypatch.setattr(loop.Batches, "__getitem__", dying)
    with pytest.raises(DataError, match="worker died") as caught:
        loop.train(tiny(workers=1, stages__0__steps=12), tmp_path / "run", say=quiet)
    assert "\n" not in str(caught.value)
    assert state.states(tmp_path / "run" / "states")


def test_a_bad_frame_met_in_a_worker_is_one_line(tmp_path):
    clip = write_clip(tmp_path / "clips" / "a")
    for number in range(1, 9):
        (clip / f"{number}.png").write_bytes(b"no image")
    data = {"source": "clips", "root": str(tmp_path / "clips")}
    config = tiny(workers=1, stages__0__data=data, stages__0__flow_weight=0, stages__0__target_shrink=1.0)
    with pytest.raises(DataError) as caught:
        loop.train(config, tmp_path / "run", say=quiet)
    assert "cannot read frame" in str(caught.value)
    assert "\n" not in str(caught.value)


def command(*arguments):
    return [sys.executable, "-m", "vinr_engine.cli", "train", *map(str, arguments)]


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def test_killed_and_resumed_is_bit_for_bit_the_same(tmp_path):
    """A real kill, wherever it falls after the first state."""
    changes = dict(checkpoint_every=1, stages__0__steps=12)
    config = write(tmp_path / "run.yaml", **changes)
    out = tmp_path / "killed"
    process = subprocess.Popen(command(out, "--config", config), env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(state.states(out / "states")) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = int(state.states(out / "states")[-1].name[5:])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        resumed = weights(loop.train(tiny(**changes), out, resume=True, say=quiet))
        assert same(weights(loop.train(tiny(**changes), tmp_path / "whole", say=quiet)), resumed)
    finally:
        torch.set_num_threads(threads)
    assert 2 <= done <= 12
    assert rows(out) == rows(tmp_path / "whole")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_two_processes_are_one(tmp_path, reduction):
    """gloo, half of the batch each: the loss curve and the weights of one process, in float64."""
    changes = dict(
        stages__0__reduction=reduction, stages__0__steps=20, precision="float64", optimiser={"lr": 1e-3, "clip": 0.5},
        checkpoint_every=20,
    )  # fmt: skip
    config = write(tmp_path / "run.yaml", **changes)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launcher, *command(tmp_path / "two", "--config", config)[1:]],
        env=environment(PYTHONWARNINGS="ignore"), check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    one = weights(loop.train(tiny(**changes), tmp_path / "one", say=quiet))
    two = weights(vinr.VideoINR.from_checkpoint(tmp_path / "two" / "weights.safetensors"))
    curves = [[float(row["loss"]) for row in rows(tmp_path / name)] for name in ("one", "two")]
    assert len(curves[0]) == 20
    assert curves[1] == pytest.approx(curves[0], rel=1e-9)
    for name, expected in one.items():
        torch.testing.assert_close(two[name].float(), expected.float(), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_two_hundred_steps_on_one_sample_lift_psnr(tmp_path, monkeypatch):
    original = loop.Batches.__getitem__
    monkeypatch.setattr(loop.Batches, "__getitem__", lambda self, k: original(self, 0))
    config = tiny(
        model={"nf": 16, "groups": 4, "front_blocks": 2, "back_blocks": 4}, stages__0__steps=200, stages__0__batch=1,
        stages__0__input_crop=16, stages__0__scale=4, optimiser={"lr": 5e-4, "clip": 10.0}, checkpoint_every=200,
    )  # fmt: skip
    run = loop.Training(config, tmp_path / "run", quiet)
    batch = loop.Batches(config.stages[0], run.sources[0], config.seed)[0]

    def psnr():
        with torch.no_grad():
            size = tuple(batch["target"].shape[-2:])
            out = run.state.model(batch["frames"], batch["times"], size, frame_upsample=1)
        return -10 * (out - batch["target"]).square().mean().log10().item()

    before = psnr()
    run.run()
    assert psnr() >= before + 8
