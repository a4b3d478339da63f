"""Clips through files: counts, times, audio, scene cuts, orientation, work done once."""

import copy
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import vinr_engine as vinr
from video.clips import Blend, av, leftovers, panning, read, samples, scene, seconds, write
from vinr_engine import backends
from vinr_engine.video.render import upscale


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_video_of_k_n_frames(tmp_path, suffix):
    source = write(tmp_path / "in.mp4", panning(5))
    model = Blend()
    done = upscale(source, tmp_path / f"out.{suffix}", space=2, time=3, model=model)
    frames = read(tmp_path / f"out.{suffix}")
    assert done.frames_out == len(frames) == 15
    assert done.frames_in == 5
    assert (frames[0].width, frames[0].height) == done.size == (96, 64)
    # Matroska stores whole milliseconds
    slack = 0 if suffix == "mp4" else Fraction(1, 1000)
    assert all(abs(t - Fraction(n, 30)) <= slack for n, t in enumerate(seconds(frames)))
    # pairs emit [0, 1), the last one also 1, the copies cost nothing; shared pyramids are made once
    assert model.times == pytest.approx([0, 1 / 3, 2 / 3] * 4 + [1])
    assert (model.frames, model.encodings) == (5, 4)
    last = [np.asarray(f.to_image()).astype(int) for f in frames[-3:]]
    assert np.abs(last[0] - last[2]).mean() < 2
    assert leftovers(tmp_path) == []


def test_durations_match(tmp_path):
    source = write(tmp_path / "in.mp4", panning(7), rate=Fraction(24000, 1001))
    upscale(source, tmp_path / "out.mp4", space=1, time=4, model=Blend())
    frames = read(tmp_path / "out.mp4")
    assert seconds(frames) == [n * Fraction(1001, 96000) for n in range(28)]

    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == 7 * Fraction(1001, 24000)


def test_folder_of_png_has_no_copies(tmp_path):
    source = write(tmp_path / "in.mp4", panning(4))
    done = upscale(source, tmp_path / "out", space=1.5, time=3, model=Blend())
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == [f"frame_{n:06d}.png" for n in range(10)]
    assert done.frames_out == 10
    with Image.open(tmp_path / "out" / names[0]) as image:
        assert image.size == (72, 48)
        assert image.mode == "RGB"


def test_png_rounds_to_nearest(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (8, 8), (100, 0, 255)).save(folder / "0.png")
    Image.new("RGB", (8, 8), (101, 3, 255)).save(folder / "1.png")
    upscale(folder, tmp_path / "out", space=1, time=4, model=Blend(), cuts=False)
    got = [Image.open(tmp_path / "out" / f"frame_{n:06d}.png").getpixel((3, 3)) for n in range(5)]
    assert got == [(100, 0, 255), (100, 1, 255), (100, 2, 255), (101, 2, 255), (101, 3, 255)]


def test_fps(tmp_path):
    source = write(tmp_path / "in.mp4", panning(5))
    model = Blend()
    upscale(source, tmp_path / "out.mp4", space=1, fps="29.97", model=model)
    times = seconds(read(tmp_path / "out.mp4"))
    assert times == [Fraction(1001 * n, 30000) for n in range(15)]
    # fewer frames than the input: pairs without an output time are not encoded
    few = Blend()
    upscale(source, tmp_path / "few.mp4", space=1, fps="3", model=few)
    assert seconds(read(tmp_path / "few.mp4")) == [0, Fraction(1, 3)]
    assert few.encodings == 2
    done = upscale(source, tmp_path / "png", space=1, fps="20", model=Blend())
    assert done.frames_out == 9


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_reordered_frames_keeps_them(tmp_path, codec):
    source = write(tmp_path / "in.avi", panning(30), codec=codec, options={"bf": "2"})
    done = upscale(source, tmp_path / "out", space=1, time=1, model=Blend())
    # the first times that FFmpeg guesses may collide
    assert done.frames_in >= 29


def test_variable_frame_rate(tmp_path):
    stamps = [0, 40, 130, 150, 400]
    source = write(tmp_path / "in.mkv", panning(5), stamps=stamps)
    upscale(source, tmp_path / "out.mp4", space=1, time=2, model=Blend())
    times = [float(t) for t in seconds(read(tmp_path / "out.mp4"))]
    assert times[:9] == pytest.approx([0, 0.02, 0.04, 0.085, 0.13, 0.14, 0.15, 0.275, 0.4])
    assert len(times) == 10


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "aac"), ("mkv", "aac"), ("mkv", "flac"), ("webm", "libopus"), ("mkv", "pcm_s16le")]
)
def test_audio_is_copied(tmp_path, kind, codec):
    source = write(
        tmp_path / f"in.{kind}", panning(20), audio=codec, codec="libvpx-vp9" if kind == "webm" else "libx264"
    )
    done = upscale(source, tmp_path / f"out.{kind}", space=2, time=2, model=Blend())
    assert done.audio_streams == 1
    assert done.frames_out == 40
    assert np.array_equal(samples(source), samples(tmp_path / f"out.{kind}"))


def test_audio_stays_in_sync(tmp_path):

    source = write(tmp_path / "in.mp4", panning(20), audio="aac")
    upscale(source, tmp_path / "out.mp4", space=1, time=2, model=Blend(), start="0.5", end="1.5")
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [p for p in container.demux(audio=0) if p.pts is not None]
        begin, end = packets[0].pts * packets[0].time_base, packets[-1].pts * packets[-1].time_base
        stop = end + packets[-1].duration * packets[-1].time_base
    frames = read(tmp_path / "out.mp4")
    assert len(frames) == 20
    assert 0 <= begin < Fraction(1024, 48000)
    assert stop <= 1
    assert 1 - stop < Fraction(2048, 48000)
    # packet n of the file begins at (n - 1) * 1024 samples, after one of priming
    first = next(n for n in range(99) if Fraction(n * 1024, 48000) >= Fraction(1, 2))
    assert abs(begin - (Fraction(first * 1024, 48000) - Fraction(1, 2))) < Fraction(1, 48000)
    with av.open(str(source)) as container:
        before = [bytes(p) for p in container.demux(audio=0) if p.pts is not None and p.pts >= first * 1024]
    assert bytes(packets[0]) == before[0]


def test_scene_cut_is_held(tmp_path):
    tints = np.array([[1.0, 0.4, 0.3], [0.2, 0.6, 1.0], [0.5, 1.0, 0.2]])
    shots = [panning(3, 96, 64, seed=1), panning(1, 96, 64, seed=5), panning(2, 96, 64, seed=9)]
    pictures = [(p * tint).astype("u1") for shot, tint in zip(shots, tints, strict=True) for p in shot]
    source = write(tmp_path / "in.mp4", pictures)
    model = Blend()
    done = upscale(source, tmp_path / "out", space=1, time=2, model=model)
    assert done.cuts == 2
    assert done.frames_out == 11
    # pairs (0,1), (1,2); the lone frame with itself; pair (4,5)
    assert model.times == [0, 0.5, 0, 0.5, 1, 0, 0, 0.5, 1]
    assert model.encodings == 4
    out = [np.asarray(Image.open(tmp_path / "out" / f"frame_{n:06d}.png")).astype(int) for n in range(11)]
    assert (out[4] == out[5]).all()
    assert (out[6] == out[7]).all()
    shown = Blend()
    assert upscale(source, tmp_path / "all", space=1, time=2, model=shown, cuts=False).cuts == 0
    assert shown.encodings == 5


@pytest.mark.parametrize(("suffix", "gop"), [("mp4", 10), ("mkv", 250), ("ts", 20), ("ts", 250)])
def test_start_and_end_by_timestamp(tmp_path, suffix, gop):
    source = write(tmp_path / f"in.{suffix}", panning(60), options={"crf": "4", "g": str(gop)})
    done = upscale(source, tmp_path / "out", space=1, time=1, model=Blend(), start="0:04.05", end="4.5")
    assert done.frames_in == 4
    whole = read(source)
    first = np.asarray(Image.open(tmp_path / "out" / "frame_000000.png")).astype(int)
    distances = [np.abs(first - np.asarray(f.to_image())).mean() for f in whole]
    assert int(np.argmin(distances)) == 41


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied(tmp_path, rotation):
    picture = scene(48, 32)
    source = write(tmp_path / "in.mp4", [picture] * 2, rotation=rotation)
    upscale(source, tmp_path / "out.mp4", space=1, time=1, model=Blend())
    out = read(tmp_path / "out.mp4")[0]
    expected = np.rot90(picture, rotation // 90)
    assert (out.height, out.width) == expected.shape[:2]
    assert out.rotation == 0
    assert np.abs(np.asarray(out.to_image()).astype(int) - expected).mean() < 4


def test_sample_aspect_ratio_is_kept(tmp_path):

    source = write(tmp_path / "in.mp4", panning(2), aspect=Fraction(4, 3))
    upscale(source, tmp_path / "out.mp4", space=2, time=1, model=Blend())
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_one_frame_video_is_enlarged_and_held(tmp_path):
    source = write(tmp_path / "in.mp4", panning(1))
    model = Blend()
    assert upscale(source, tmp_path / "out.mp4", time=4, model=model).frames_out == 4
    assert model.times == [0]
    assert len(read(tmp_path / "out.mp4")) == 4
    assert upscale(source, tmp_path / "out", time=4, model=model).frames_out == 1


def test_real_network(tmp_path):
    source = write(tmp_path / "in.mp4", panning(2, 16, 12))
    model = vinr.VideoINR(nf=8, groups=2, front_blocks=1, back_blocks=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for dtype in ("float32", "float64", "bfloat16"):
        done = upscale(source, tmp_path / f"{dtype}.mp4", space=2, time=2, model=model, dtype=dtype)
        assert done.frames_out == 4
        assert done.size == (32, 24)
    for other in (copy.deepcopy(model).double(), copy.deepcopy(model).bfloat16()):
        assert upscale(source, tmp_path / "o", space=1, time=1, model=other, overwrite=True).frames_out == 2
    assert all(v.dtype == before[k].dtype and (v == before[k]).all() for k, v in model.state_dict().items())


def test_the_backend_in_force_is_kept(tmp_path):
    source = write(tmp_path / "in.mp4", panning(2))
    seen = []

    class Asks(Blend):
        def query(self, *args, **kwargs):
            seen.append(backends.chosen())
            return super().query(*args, **kwargs)

    with vinr.backend("reference"):
        upscale(source, tmp_path / "a.mp4", space=1, time=1, model=Asks())
    upscale(source, tmp_path / "b.mp4", space=1, time=1, model=Asks(), backend="reference")
    assert set(seen) == {"reference"}


def test_progress_counts_up(tmp_path):
    source = write(tmp_path / "in.mp4", panning(3))
    calls = []
    upscale(source, tmp_path / "out.mp4", space=1, time=2, model=Blend(), progress=lambda *a: calls.append(a))
    assert calls == [(n, 6) for n in range(7)]


def test_networks_that_like_it_make_several_pictures_together(tmp_path):
    class Together(Blend):
        together = 3

        def __init__(self):
            super().__init__()
            self.asked = []

        def query(self, features, frames, times, size, *, shared=None):
            self.asked.append(list(times))
            return super().query(features, frames, times, size)

    source = write(tmp_path / "in.mp4", panning(3))
    model = Together()
    upscale(source, tmp_path / "a.mp4", space=2, time=4, model=model)
    upscale(source, tmp_path / "b.mp4", space=2, time=4, model=Blend())
    assert model.asked == [[0, 0.25, 0.5], [0.75], [0, 0.25, 0.5], [0.75], [1]]
    for one, other in zip(read(tmp_path / "a.mp4"), read(tmp_path / "b.mp4"), strict=True):
        assert np.array_equal(one.to_ndarray(), other.to_ndarray())


MEASURE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from video.clips import Blend
from vinr_engine.video.render import upscale
upscale(sys.argv[2], sys.argv[3], space=2, time=2, model=Blend(), codec=sys.argv[4] or None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec"),
    [("{}.mp4", ""), ("{}.mkv", ""), ("{}.mkv", "ffv1"), ("{}", "")],
    ids=["mp4", "mkv", "ffv1", "png"],
)
def test_memory_does_not_grow_with_length(tmp_path, request, name, codec):
    """Nor with the number of chunks, which are joined at the end."""
    peaks = []
    for count in (60, 600):
        pictures = panning(60, 160, 90) * (count // 60)
        source = write(tmp_path / f"{count}.mp4", pictures, audio="aac", rate=30)
        run = [
            sys.executable,
            "-c",
            MEASURE,
            str(request.config.rootpath / "tests"),
            str(source),
            str(tmp_path / f"out{name.format(count)}"),
            codec,
        ]
        peaks.append(int(subprocess.run(run, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < 1.05 * peaks[0], peaks
