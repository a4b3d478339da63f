"""`vinr train`: the loop. Accelerate places it on devices and spreads it over processes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from vinr_engine.errors import ConfigError, DataError, DivergedError, StateError, UsageError, reason
from vinr_engine.models import CheckpointError, NetworkModule, load_network, save_checkpoint
from vinr_engine.models.layers.siren import SineLayer
from vinr_engine.training import state as states
from vinr_engine.training import validate as validation
from vinr_engine.training.batches import Batches, open_source
from vinr_engine.training.config import Config, Stage
from vinr_engine.training.journal import Journal
from vinr_engine.training.muon import Muon, is_matrix
from vinr_engine.training.objective import Objective
from vinr_engine.training.samples import Batch, Source
from vinr_engine.training.schedule import stage_learning_rate

WEIGHTS = "weights.safetensors"
HALF = "weights_fp16.safetensors"


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


class Training:
    """A run of `config` in the folder `out`.

    Raises VinrError: bad configurations, data, states, losses that stay infinite, workers that die.
    """

    def __init__(self, config: Config, out: Path, say: Callable[[str], None] = print) -> None:
        self.config, self.out = config, out
        precision = "no" if config.precision == "float64" else config.precision
        self.accelerator = Accelerator(
            cpu=config.device == "cpu",
            mixed_precision=precision,
            gradient_accumulation_steps=config.optimiser.accumulate,
            log_with=list(config.trackers) or None,
            project_dir=str(out),
        )
        self.until = math.inf  # by the clock of time.monotonic
        self.say = say if self.accelerator.is_main_process else lambda text: None
        for stage in config.stages:
            if stage.batch % self.accelerator.num_processes:
                raise ConfigError(
                    f"stages: batch {stage.batch} does not divide by {self.accelerator.num_processes} processes"
                )
        self.sources: dict[int, Source] = {k: open_source(stage.data) for k, stage in enumerate(config.stages)}
        self.checks = (
            validation.samples(open_source(config.validation.data), config.validation) if config.validation else []
        )
        torch.manual_seed(config.seed)
        self.state = self._state()
        self.scaler = self.accelerator.scaler
        self.journal = Journal(out, config, self.accelerator, self.say)

    def _model(self) -> NetworkModule:
        try:
            model = self.config.model.build()
            if self.config.init is None and self.config.scaled_initialisation:
                model.initialise()
        except ValueError as error:
            raise ConfigError(f"model: {error}") from None
        for stage in self.config.stages:
            if stage.learn not in model.learns:
                raise ConfigError(
                    f"stages: learn: this {type(model).__name__} takes {', '.join(model.learns)}, got {stage.learn!r}"
                )
        if self.config.init is None:
            return model
        try:
            found = load_network(self.config.init)
        except CheckpointError as error:
            raise ConfigError(f"init: {error}") from None
        if changed := states.differences(found, model):
            raise ConfigError(f"init: {self.config.init} is another model: {changed}")
        return found.train()

    def _state(self) -> states.State:
        o = self.config.optimiser
        model = self._model()
        if self.config.precision == "float64":
            model = model.double()
        model = model.to(self.accelerator.device)
        self.objective: Any = Objective(model, self.config.frame_upsample)
        ema = None if o.ema is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(o.ema))
        optimiser = Muon(self._groups(model), o.betas)
        self.objective, self.optimiser = self.accelerator.prepare(self.objective, optimiser)
        return states.State(model, optimiser, ema)

    def _groups(self, model: NetworkModule) -> list[dict[str, Any]]:
        """Parameters with their learning rate over `lr`."""
        o = self.config.optimiser
        trained = [p for p in model.parameters() if p.requires_grad]
        sine = {p for module in model.modules() if isinstance(module, SineLayer) for p in module.parameters()}
        kernels = set() if o.kernel_lr is None else {p for p in trained if is_matrix(p)}
        return [
            {"params": [p for p in trained if p not in sine and p not in kernels], "factor": 1.0},
            {"params": [p for p in trained if p in sine], "factor": (o.sine_lr or o.lr) / o.lr},
            {"params": [p for p in trained if p in kernels], "factor": (o.kernel_lr or 0) / o.lr, "matrices": True},
        ]

    def resume(self) -> None:
        """Continue from the newest state in the folder. Raises StateError."""
        found = states.states(self.out / "states")
        if not found:
            raise StateError(f"{self.out}: no state to resume")
        states.restore(self.state, found[-1], self.scaler)
        self.say(f"resumed {found[-1].name}")

    def run(self, seconds: float = math.inf) -> NetworkModule:
        """Train to the end, or for `seconds`; the network to use, whose weights also lie in the folder."""
        self.until = time.monotonic() + seconds
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(deterministic or self.config.deterministic)
        try:
            self._prepare_folder()
            for number, stage, first, last in self._stages():
                if self.state.step < last and not self._time_is_up():
                    self._run_stage(number, stage, first, last)
            self._checkpoint()
            if self.state.step < self.config.steps:
                self.say(f"time is up at step {self.state.step} of {self.config.steps}; --resume continues")
        except OSError as error:
            raise StateError(f"cannot write {self.out}: {reason(error)}") from None
        except RuntimeError as error:
            # torch's signal handler raises it wherever the loop happens to be.
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(f"a data worker died ({reason(error)}); --resume continues") from None
        finally:
            self.accelerator.end_training()
            torch.use_deterministic_algorithms(deterministic)
        return self.state.best

    def _time_is_up(self) -> bool:
        """The same answer in every process: the clock of one counts."""
        late = time.monotonic() >= self.until
        if self.accelerator.num_processes == 1 or math.isinf(self.until):
            return late
        (said,) = broadcast_object_list([late])
        return bool(said)

    def _stages(self) -> Iterator[tuple[int, Stage, int, int]]:
        """Number, stage, and the steps at which it begins and ends."""
        first = 0
        for number, stage in enumerate(self.config.stages):
            yield number, stage, first, first + stage.steps
            first += stage.steps

    def _prepare_folder(self) -> None:
        self.journal.open(self.state.step)
        self.accelerator.init_trackers("")

    def _batches(self, number: int, stage: Stage, first: int, last: int) -> Iterator[Batch]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        data = Batches(stage, self.sources[number], self.config.seed + number, rank, world)
        accumulate = self.config.optimiser.accumulate
        numbers = range((self.state.step - first) * accumulate, (last - first) * accumulate)
        workers = self.config.workers
        loader = DataLoader(
            data, batch_size=None, sampler=numbers, num_workers=workers, worker_init_fn=_one_thread,
            prefetch_factor=4 if workers else None, pin_memory=self.accelerator.device.type == "cuda",
        )  # fmt: skip
        try:
            yield from loader
        except DataError as error:
            # A worker hands its error on inside a traceback; the message stands last.
            raise DataError(str(error).strip().splitlines()[-1].split("DataError: ")[-1]) from None

    def _to_device(self, batch: Batch) -> Batch:
        dtype = torch.float64 if self.config.precision == "float64" else torch.float32
        return {key: value.to(self.accelerator.device, dtype, non_blocking=True) for key, value in batch.items()}

    def _run_stage(self, number: int, stage: Stage, first: int, last: int) -> None:
        self.say(f"stage {number + 1}: steps {self.state.step} to {last}")
        self.state.model.train()
        self._freeze(stage)
        batches = self._batches(number, stage, first, last)
        rows: list[dict[str, float]] = []
        while self.state.step < last and not self._time_is_up():
            rows.append(self._step(first, stage, batches))
            step = self.state.step
            v = self.config.validation
            validates = v is not None and (step % v.every == 0 or step == self.config.steps)
            if step % self.config.log_every == 0 or validates or step == last:
                figures, pictures = self._validate() if validates else ({}, [])
                self.journal.write(rows, figures, pictures)
                rows.clear()
            if step % self.config.checkpoint_every == 0:
                self._checkpoint()
        if rows:  # time is up between two lines of the log
            self.journal.write(rows, {}, [])

    def _freeze(self, stage: Stage) -> None:
        model = self.state.model
        names = [name for name, _ in model.named_parameters()]
        if wrong := [start for start in stage.frozen if not any(name.startswith(start) for name in names)]:
            raise ConfigError(f"stages: frozen: no parameter begins with {wrong[0]!r}")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith((*model.unused, *stage.frozen)))

    def _step(self, first: int, stage: Stage, batches: Iterator[Batch]) -> dict[str, float]:
        """One optimiser step; a loss or a gradient that is not finite changes nothing but a count."""
        accelerator, o = self.accelerator, self.config.optimiser
        rate = stage_learning_rate(self.state.step, first, stage, self.config.steps, o)
        for group in self.state.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        # Processes average their gradients and a step its batches; the gradient of a sum is a sum.
        parts = accelerator.num_processes * o.accumulate if stage.reduction == "sum" else 1
        used, losses, norm = [], [], torch.zeros(())
        for _ in range(o.accumulate):
            batch = self._to_device(next(batches))
            used.append(batch)
            with accelerator.accumulate(self.objective):
                loss, pictures = self.objective(batch, stage)
                accelerator.backward(loss * parts)
                losses.append(torch.stack([loss.detach(), pictures]))
        total = torch.stack(losses).sum(0) if stage.reduction == "sum" else torch.stack(losses).mean(0)
        total = accelerator.reduce(total, "sum" if stage.reduction == "sum" else "mean")
        norm = accelerator.clip_grad_norm_(self.objective.parameters(), o.clip or math.inf)
        # Every process sees the same sums, so that all skip or none. A scaler skips overflows of its own by itself.
        finite = bool(total.isfinite().all()) and (self.scaler is not None or bool(norm.isfinite()))
        if finite:
            self.optimiser.step()
        self.optimiser.zero_grad()
        self.state.step += 1
        if not finite:
            self._skip(used)
        elif self.state.ema is not None:
            self.state.ema.update_parameters(self.state.model)
        loss_value, picture_value = total.tolist()
        return {
            "step": self.state.step, "lr": rate, "loss": loss_value, "picture_loss": picture_value,
            "gradient_norm": float(norm), "bad_steps": self.state.bad_steps,
        }  # fmt: skip

    def _skip(self, used: list[Batch]) -> None:
        self.state.bad_steps += 1
        folder = self.out / "bad_batches"
        folder.mkdir(exist_ok=True)
        name = f"step_{self.state.step:08d}_process_{self.accelerator.process_index}.safetensors"
        tensors = {
            f"{k}.{key}": value.contiguous().cpu() for k, batch in enumerate(used) for key, value in batch.items()
        }
        safetensors.torch.save_file(tensors, folder / name)
        self.say(f"step {self.state.step}: the loss or its gradient is not finite; skipped, batch saved in {folder}")
        if self.state.bad_steps > self.config.bad_steps_allowed:
            raise DivergedError(
                f"{self.state.bad_steps} steps had no finite loss (bad_steps_allowed "
                f"{self.config.bad_steps_allowed}); the batches lie in {folder}, states in {self.out / 'states'}"
            )

    def _validate(self) -> tuple[dict[str, float], list[torch.Tensor]]:
        v = self.config.validation
        if v is None or not self.accelerator.is_main_process:
            return {}, []
        dtype = torch.float64 if self.config.precision == "float64" else torch.float32
        checks = [{key: value.to(dtype) for key, value in sample.items()} for sample in self.checks]
        figures, pictures = validation.validate(
            self.state.best, checks, self.accelerator.autocast, self.accelerator.device
        )
        return figures, pictures[: v.images]

    def _checkpoint(self) -> None:
        """Save the state, and the weights to use beside it."""
        if self.accelerator.is_main_process:
            states.save(self.state, self.out / "states", self.config.checkpoints_kept, self.scaler)
            save_checkpoint(self.state.best, self.out / WEIGHTS)
            save_checkpoint(self.state.best, self.out / HALF, torch.float16)
        self.accelerator.wait_for_everyone()


def train(
    config: Config,
    out: str | os.PathLike[str],
    resume: bool = False,
    say: Callable[[str], None] = print,
    minutes: float | None = None,
) -> NetworkModule:
    """Run `config` in the folder `out`, from its newest state if `resume`, for `minutes` if given; see `Training`."""
    folder = Path(out)
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(f"--minutes must be more than 0, got {minutes:g}")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS is first used, which asks for it
    if not resume and states.states(folder / "states"):
        raise StateError(f"{folder} holds a run already: --resume continues it, or choose another folder")
    run = Training(config, folder, say)
    if resume:
        run.resume()
    return run.run(math.inf if minutes is None else 60 * minutes)
