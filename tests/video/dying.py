"""Upscales in processes of their own, which die by SIGKILL where a test says: at a step of a phase, or by the clock.

Processes are forked from a server that has loaded everything, so that one costs little more than its run.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from video.clips import Blend
from vinr_engine.errors import VinrError
from vinr_engine.video import chunks, journal
from vinr_engine.video.io import join, outputs, packets
from vinr_engine.video.render import upscale

PHASES = {
    "commit": [(chunks.ChunkWriter, "_commit")],
    "join": [(outputs.Video, "join"), (outputs.Frames, "join")],
    "end": [(journal.Journal, "rename"), (journal.Journal, "remove")],
}
"""What is under way within which calls; "end": the result takes its name, and the folder goes."""
STEPS = [
    *((os, name) for name in ("replace", "rename", "fsync", "write", "ftruncate", "unlink", "rmdir", "mkdir")),
    (Path, "write_bytes"), (packets.PacketWriter, "write"), (packets.PacketWriter, "close"), (join.Muxer, "write"),
    (join.Muxer, "finish"),
]  # fmt: skip
"""The calls that touch files in them: a process can die before each, after it, and in the midst of writing bytes."""
IN_HALVES = ("write", "write_bytes")


def die():
    """By SIGKILL, now."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


class Steps:
    """Counts the moments at which the process can die, by phase, and lets it die at number ``at`` of ``phase``."""

    def __init__(self, phase=None, at=None):
        self.phase, self.at = phase, at
        self.counts = dict.fromkeys(PHASES, 0)
        self.now = threading.local()
        for name, calls in PHASES.items():
            for owner, call in calls:
                setattr(owner, call, self._entering(name, getattr(owner, call)))
        for owner, call in STEPS:
            setattr(owner, call, self._counted(getattr(owner, call), owner is not join.Muxer and call in IN_HALVES))

    def _entering(self, name, real):
        def entered(*args, **options):
            self.now.phase = name
            try:
                return real(*args, **options)
            finally:
                self.now.phase = None

        return entered

    def _moment(self):
        """Whether to die at this one."""
        phase = getattr(self.now, "phase", None)
        if phase is None:
            return False
        self.counts[phase] += 1
        return phase == self.phase and self.counts[phase] - 1 == self.at

    def _counted(self, real, halves):
        def step(first, *args, **options):
            if self._moment():
                die()
            if halves and isinstance(args[0], bytes) and self._moment():
                real(first, args[0][: len(args[0]) // 2])
                die()
            result = real(first, *args, **options)
            if self._moment():
                die()
            return result

        return step


def _run(source, dst, options, aim, pipe):
    torch.set_num_threads(1)
    steps = Steps(*aim) if aim else None
    pipe.send(None)
    try:
        done = upscale(source, dst, model=Blend(), **options)
        said = {"resumed": done.resumed, "steps": steps and steps.counts}
    except VinrError as error:
        said = {"error": type(error).__name__, "text": str(error)}
    pipe.send(json.dumps(said))


CONTEXT = multiprocessing.get_context("forkserver")
# Python up to 3.12 does not hand sys.path on to the server, so that it finds what is installed alone.
CONTEXT.set_forkserver_preload(
    ["pytest", "PIL.Image", "vinr_engine.video.render", "vinr_engine.video.enlarge", "vinr_engine.video.io.join"]
)


@dataclass(frozen=True)
class Outcome:
    """``died``: whether by SIGKILL. ``said``: what the run gave or its error, None if it died. ``seconds`` it took."""

    died: bool
    said: dict | None
    seconds: float


def run(source, dst, options, aim=None, after=None):
    """An upscale with the stand-in for the network in a process of its own.

    ``aim``: (phase, number) of the moment to die at, or (None, None) to count them; ``after``: seconds to be killed
    after.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_run, args=(str(source), str(dst), options, aim, theirs))
    process.start()
    theirs.close()
    with ours:
        ours.recv()
        began = time.monotonic()
        if after is not None:
            time.sleep(after)
            process.kill()
        process.join()
        seconds = time.monotonic() - began
        code = process.exitcode
        process.close()
        said = None
        with contextlib.suppress(EOFError):
            said = json.loads(ours.recv()) if ours.poll() else None
    assert code in (0, -signal.SIGKILL), code
    return Outcome(code != 0, said, seconds)


def remove(path):
    """A file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
