"""One clip on many machines: its segments as tasks of a Ray cluster, and its chunks in order beside the output.

Where tasks run, how many at a time, and what happens when a machine goes, is Ray's: see docs/upscaling.md.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vinr_engine import files, memory
from vinr_engine.errors import Cancelled, SinkError, SourceError, UsageError, VinrError, reason
from vinr_engine.models import Network, NetworkModule, load_network, networks, save_checkpoint
from vinr_engine.video import enlarge, render, segments
from vinr_engine.video.job import Job
from vinr_engine.video.resume import pictures_from, remarked
from vinr_engine.video.segments import Clip, Made, Segment
from vinr_engine.video.summary import Summary
from vinr_engine.video.threads import ReadAhead

if TYPE_CHECKING:
    from vinr_engine.video.journal import Counts

AHEAD = 2
"""Segments in flight for each that the cluster can make at a time: no machine waits while an early one is slow."""
RETRIES = 5
"""How often a segment is tried again, whose worker or machine has died."""
ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Setting:
    """How a worker runs a network; see Job. ``memory``: bytes to stay within, or as of Job. ``threads``: PyTorch's."""

    device: str
    dtype: str
    cuda_graphs: bool
    memory: int | str | None
    threads: int


@contextmanager
def connected(address: str, cpus: int = 1) -> Iterator[Cluster]:
    """A Ray cluster by its address, as ray.init takes it; within the block, unless the program has one already.

    ``cpus``: of each task. UsageError where Ray is not installed, or no cluster answers.
    """
    try:
        with _signals_kept():
            import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("--ray needs Ray, which is not installed: pip install 'vinr_engine[ray]'") from None
    if cpus < 1:
        raise UsageError(f"--ray-cpus must be at least 1, got {cpus}")
    if ray.is_initialized():
        yield Cluster(ray, cpus)
        return
    _check_answers(address)
    # A cluster that this command starts tells nobody of it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"--ray {address}: no cluster answers: {reason(error)}") from None
    try:
        yield Cluster(ray, cpus)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """UsageError where nothing listens: Ray itself waits for that without end."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: no cluster answers: {reason(error)}") from None


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts handlers of its own in place of the program's."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        with suppress(ValueError):  # outside the main thread there is nothing to mind
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


class Cluster:
    """A connection to a cluster; each task asks for ``cpus`` of a machine's."""

    def __init__(self, ray: Any, cpus: int) -> None:
        self.ray, self.cpus = ray, cpus
        self._sent: tuple[Network, Any] | None = None

    def render(self, job: Job) -> Summary:
        """As `render.render`, on the cluster; ``stages`` are sums over its machines. ``auto`` is its GPUs, if any."""
        return render.render(job, partial(_Spread, self))

    def device(self, asked: str) -> str:
        """The device of tasks; UsageError."""
        if asked == "auto":
            return "cuda" if self.ray.cluster_resources().get("GPU") else "cpu"
        if asked.startswith("cuda:"):
            raise UsageError(f"--device {asked}: Ray gives each task a GPU of its own; with --ray it is --device cuda")
        return asked

    def at_once(self, device: str, most: bool = False) -> int:
        """How many tasks the cluster can run at a time, as it is now; ``most``: one of its machines."""
        counts = [0]
        for node in self.ray.nodes():
            if node["Alive"]:
                there = node["Resources"]
                fitting = int(there.get("CPU", 0) // self.cpus)
                counts.append(min(fitting, int(there.get("GPU", 0))) if device == "cuda" else fitting)
        return max(counts) if most else sum(counts)

    def send(self, model: Network) -> Any:
        """A network into the cluster's memory, once."""
        if self._sent is None or self._sent[0] is not model:
            self._sent = model, self.ray.put(_packed(model, self.ray))
        return self._sent[1]

    def task(self, device: str) -> Any:
        """`_make` as a task."""
        gpus = {"num_gpus": 1} if device == "cuda" else {}
        return self.ray.remote(_make).options(num_cpus=self.cpus, max_retries=RETRIES, **gpus)


def _packed(model: Network, ray: Any) -> Network | bytes:
    """A network of PyTorch as a checkpoint, others as Ray takes them; UsageError."""
    if isinstance(model, NetworkModule) and networks.get(type(model).__name__) is type(model):
        with tempfile.TemporaryDirectory(prefix="vinr-") as folder:
            path = Path(folder, "network.safetensors")
            save_checkpoint(model, path)
            return path.read_bytes()
    try:
        ray.cloudpickle.dumps(model)
    except Exception as error:  # whatever its parts raise
        text = f"the network {model.name} cannot be sent to other machines ({type(error).__name__}: {reason(error)})"
        raise UsageError(f"--ray: {text}: give one of PyTorch") from None
    return model


class _Spread(render.Run):
    """A run whose segments the cluster makes."""

    def __init__(self, cluster: Cluster, job: Job, *rest: Any) -> None:
        self.cluster = cluster
        given = job.model is not None and not isinstance(job.model, NetworkModule) and job.device == "auto"
        self.where = "auto" if given else cluster.device(job.device)
        super().__init__(job, *rest)

    def _place(self) -> tuple[None, int | None]:
        """See Run. Each task gets a share of what this machine would take, as all are taken to be alike; GPUs are asked
        where they are."""
        if self.where == "cuda":
            return None, None
        limit = memory.budget(self.job.memory, self.model.device)
        if self.job.memory is None:
            tasks = max(1, self.cluster.at_once(self.where, most=True))
            limit = max(limit // tasks, min(limit, memory.LITTLE))
        return None, limit

    def compute(self, backend: str) -> None:
        """See Run."""
        job, journal, cluster = self.job, self.journal, self.cluster
        self.output.check(self.target, self.streams)
        if not cluster.at_once(self.where):
            gpu = " and a GPU" if self.where == "cuda" else ""
            raise UsageError(f"--ray: no machine of the cluster has {cluster.cpus} CPUs{gpu} (see --ray-cpus)")
        assert journal.head is not None
        clip = Clip(
            os.path.abspath(job.src),
            journal.head["source"]["fingerprint"],
            self.numbers,
            self.plan,
            self.output,
            self.target,
            self.lead,
            job.cuts,
            backend,
        )
        if job.untrained:
            self.say(enlarge.UNTRAINED)
        with ExitStack() as stack:
            pictures = ReadAhead(remarked(pictures_from(self.source, journal.mark, self._open, self.say), self.say))
            stack.callback(pictures.close)
            tasks = _Tasks(self, clip)
            stack.callback(tasks.stop)
            self._tell()
            try:
                counts: Counts | None = None
                try:
                    counts = segments.find(clip, pictures, journal.mark, journal.last, tasks.add)
                except SourceError:
                    tasks.finish()  # what lies before is not in vain
                    raise
                tasks.finish()
                if journal.counts is None:
                    journal.complete(counts)
            except Cancelled:
                tasks.keep_ready()
                self._interrupted()
            except (SinkError, SourceError) as error:
                raise type(error)(f"{error}{self._kept()}") from None

    def failed(self, text: str) -> VinrError:
        """The error of tasks that cannot be done; what is done stays."""
        return VinrError(f"{text}{self._kept()}")

    def keep(self, made: Made) -> None:
        """A segment as the next chunk of the journal."""
        segment, spent, journal = made.segment, made.stages, self.journal
        with files.reported(self.job.dst):
            journal.draft().write_bytes(made.data)
        journal.commit(segment.frames, segment.last, segment.end, segment.counts)
        self.stages = replace(
            self.stages,
            decode=self.stages.decode + spent.decode,
            compute=self.stages.compute + spent.compute,
            encode=self.stages.encode + spent.encode,
            waiting=self.stages.waiting + spent.waiting,
        )
        self._tell()

    def _tell(self) -> None:
        if self.job.stages is not None:
            self.job.stages(self.stages)
        if self.job.progress is not None:
            self.job.progress(self.journal.frames, self.plan.total)


class _Tasks:
    """The segments in flight, in order: so many that the cluster is busy, and no more."""

    def __init__(self, run: _Spread, clip: Clip) -> None:
        job, cluster = run.job, run.cluster
        self.run, self.cluster, self.ray = run, cluster, cluster.ray
        self._task = cluster.task(run.where)
        limit = run.job.memory if run.where == "cuda" else run.memory
        setting = Setting(run.where, job.dtype, job.cuda_graphs, limit, cluster.cpus)
        # In a list Ray hands references on as they are: a worker fetches what it does not have yet.
        self._common = [cluster.send(run.model), self.ray.put((clip, setting))]
        self._flying: deque[tuple[Segment, Any]] = deque()
        self._said: set[str] = set()

    def add(self, segment: Segment) -> None:
        """Send one out, after waiting for the first ones if too many are out."""
        self._check()
        self.keep_ready()
        while len(self._flying) >= AHEAD * max(1, self.cluster.at_once(self.run.where)):
            self._keep_first()
        self._flying.append((segment, self._task.remote(self._common, segment)))

    def finish(self) -> None:
        """Wait for all."""
        while self._flying:
            self._check()  # waiting does so too, but there may be nothing to wait for
            self._keep_first()

    def keep_ready(self) -> None:
        """Keep those that are there, up to the first that is not."""
        while self._flying and self._is_ready(0):
            self._keep_first()

    def stop(self) -> None:
        """Nobody waits for the rest."""
        for _, task in self._flying:
            with suppress(Exception):  # the cluster may be gone
                self.ray.cancel(task, force=True)
        self._flying.clear()

    def _check(self) -> None:
        if self.run.job.cancel is not None and self.run.job.cancel():
            raise Cancelled("cancelled")

    def _is_ready(self, seconds: float) -> bool:
        return bool(self.ray.wait([self._flying[0][1]], timeout=seconds)[0])

    def _keep_first(self) -> None:
        while not self._is_ready(0.2):
            self._check()
        segment, task = self._flying[0]
        made = self._result(segment, task)
        self._flying.popleft()
        for note in made.notes:
            if note not in self._said:
                self._said.add(note)
                self.run.say(note)
        self.run.keep(made)

    def _result(self, segment: Segment, task: Any) -> Made:
        errors = self.ray.exceptions
        try:
            made: Made = self.ray.get(task)
        except errors.RayTaskError as error:
            if isinstance(error.cause, VinrError):
                raise error.cause from None
            cause = error.cause if isinstance(error.cause, BaseException) else error
            raise self.run.failed(f"a worker failed: {type(cause).__name__}: {reason(cause)}") from None
        except errors.RayError as error:
            first = segment.begin.frames_out if segment.begin else 0
            what = f"output frames {first} to {first + segment.frames - 1}"
            text = " ".join(str(error).split())
            raise self.run.failed(f"{what} could not be made: {type(error).__name__}: {text}") from None
        return made


_here: dict[str, Any] = {}
"""What this worker has fetched, by the names of Ray's references."""


def _make(common: list[Any], segment: Segment) -> Made:
    """On a worker: one segment, with the network that the one before left here."""
    clip, enlarger = _ready(*common)
    with tempfile.TemporaryDirectory(prefix="vinr-") as folder:
        return segments.make(clip, enlarger, segment, folder)


def _ready(network: Any, about: Any) -> tuple[Clip, enlarge.Enlarger]:
    import ray
    import torch

    names = network.hex(), about.hex()
    if names[1] not in _here:
        model = _here.get(names[0])
        if model is None:
            model = _unpacked(ray.get(network))
        for old in _here.values():
            if isinstance(old, tuple):
                old[1].close()
        _here.clear()
        clip: Clip
        setting: Setting
        clip, setting = ray.get(about)
        clip.check()
        torch.set_num_threads(setting.threads)
        device = None if setting.device == "auto" else enlarge.resolve_device(setting.device, setting.dtype)
        width, height = clip.plan.size
        limit = setting.memory
        if not isinstance(limit, int):
            limit = memory.budget(limit, device or model.device)
        frames = clip.target.info.height, clip.target.info.width
        enlarger = enlarge.Enlarger(model, (height, width), device, setting.dtype, setting.cuda_graphs, frames, limit)
        _here.update({names[0]: model, names[1]: (clip, enlarger)})
    found: tuple[Clip, enlarge.Enlarger] = _here[names[1]]
    return found


def _unpacked(sent: Network | bytes) -> Network:
    """What `_packed` was given."""
    if not isinstance(sent, bytes):
        return sent
    with tempfile.TemporaryDirectory(prefix="vinr-") as folder:
        path = Path(folder, "network.safetensors")
        path.write_bytes(sent)
        return load_network(path)
