"""Disks that are really full, small file systems in memory: a run stops with advice, and goes on when there is room."""

import contextlib
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from video import dying
from video.clips import Blend, leftovers, panning, write
from video.test_resume import contents
from vinr_engine.errors import SinkError
from vinr_engine.video.io import packets
from vinr_engine.video.render import upscale

OPTIONS = {"space": 1, "time": 2, "segment": 10}
PAGE = os.sysconf("SC_PAGE_SIZE")
NAMESPACE = "VINR_TEST_MOUNT_NAMESPACE"


def mount(folder, options):
    """Whether a file system in memory could be mounted there, or mounted anew with other options."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "vinr", folder], capture_output=True, text=True)
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path, request):
    """Mounts a disk at a folder: disk("size=8192"). The test runs in a namespace of its own if only that may mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, "size=64k"):
        if NAMESPACE in os.environ:
            pytest.skip("file systems cannot be mounted here, not even in a namespace of their own")
        node = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", request.node.nodeid]
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                ["unshare", "--map-root-user", "--mount", *node], env={**os.environ, NAMESPACE: "1"},
                cwd=request.config.rootpath, capture_output=True, text=True,
            )  # fmt: skip
            if "1 passed" in done.stdout:
                pytest.skip("passed in a namespace of its own")
            assert "failed" not in done.stdout, done.stdout
        pytest.skip("file systems cannot be mounted here, not even in a namespace of their own")
    subprocess.run(["umount", folder], check=True)

    def mounted(options):
        assert mount(folder, options)
        return folder

    yield mounted
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.default_rng(0)
    shots = [np.clip(p + rng.normal(0, 6, p.shape), 0, 255).astype("u1") for p in panning(60, 96, 64)]
    return write(tmp_path_factory.mktemp("source") / "in.mp4", shots, rate=20, audio="aac", options={"g": "12"})


class Whole:
    """What uninterrupted runs write, and the bytes of their files: chunks, and output."""

    def __init__(self, folder, source):
        self.folder, self.source, self.known = folder, source, {}

    def __call__(self, name):
        if name not in self.known:
            path = self.folder / name
            assert "error" not in dying.run(self.source, path, OPTIONS).said
            paths = [*path.iterdir()] if path.is_dir() else [path]
            self.known[name] = contents(path), sum(-(-p.stat().st_size // PAGE) for p in paths)
        return self.known[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, source):
    return Whole(tmp_path_factory.mktemp("whole"), source)


def kept_frames(folder, name):
    """Of a run that stopped, by its journal."""
    journal = folder / f".{name}.vinr" / "journal.jsonl"
    lines = map(json.loads, journal.read_text().splitlines()) if journal.exists() else []
    return sum(line.get("frames", 0) for line in lines)


def fills(disk, source, name, whole, small, large):
    """A run on a disk that is too small, which stops as it should, and the same on a larger one; the frames kept."""
    folder = disk(small)
    said = dying.run(source, folder / name, OPTIONS).said
    assert said.get("error") == "SinkError", said
    assert "\n" not in said["text"]
    assert "No space left on device" in said["text"]
    assert f"free some space on the disk of {folder} " in said["text"]
    kept = kept_frames(folder, name)
    if kept:
        assert f"; {kept} of about 1" in said["text"]
        assert "output frames are kept, and the same command goes on from there" in said["text"]
    else:
        assert "give the same command again" in said["text"]
        assert [*folder.iterdir()] == []
    assert not (folder / name).exists()
    assert mount(folder, f"remount,{large}")
    said = dying.run(source, folder / name, OPTIONS).said
    assert said.get("resumed") == kept, said
    assert contents(folder / name) == whole(name)[0]
    assert leftovers(folder) == []
    return kept


def test_a_full_disk_stops_a_run_until_there_is_room(disk, source, whole):
    """Full in the middle of the chunks."""
    pages = whole("o.mp4")[1]
    kept = fills(disk, source, "o.mp4", whole, f"size={pages // 2 * PAGE}", "size=64m")
    assert 0 < kept < 120


def test_an_interruption_on_a_full_disk_says_how_to_go_on(tmp_path, source, monkeypatch):
    """The frames since the last segment cannot be kept; those before it are."""
    count, real = iter(range(100)), packets.PacketWriter.close

    def close(self):
        if next(count) >= 2:
            raise OSError(errno.ENOSPC, "full")
        real(self)

    monkeypatch.setattr(packets.PacketWriter, "close", close)
    moments = iter(range(100))
    with pytest.raises(SinkError, match=r"No space left on device; 20 of about 120 .* free some space on the disk of"):
        upscale(source, tmp_path / "o.mp4", model=Blend(), cancel=lambda: next(moments) == 25, **OPTIONS)
    monkeypatch.undo()
    assert upscale(source, tmp_path / "o.mp4", model=Blend(), **OPTIONS).resumed == 20
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
@pytest.mark.parametrize("number", range(6))
def test_disks_of_every_size_that_is_too_small(disk, source, whole, name, number):
    """From one page to a few less than what chunks and output take together."""
    size = 1 + (2 * whole(name)[1] - 3) * number // 5
    fills(disk, source, name, whole, f"size={size * PAGE}", "size=64m")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_disks_that_are_too_small_for_images(disk, source, whole, number):
    """Chunks go as their images come: what is too small is little more than the larger of the two."""
    size = 1 + (whole("o")[1] - 2) * number // 3
    fills(disk, source, "o", whole, f"size={size * PAGE}", "size=64m")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "files"), [("o.mp4", 2), ("o.mkv", 8), ("o", 3), ("o", 70)])
def test_disks_without_room_for_another_file(disk, source, whole, name, files):
    fills(disk, source, name, whole, f"size=64m,nr_inodes={files}", "size=64m,nr_inodes=10000")
