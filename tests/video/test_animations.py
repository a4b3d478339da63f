"""Animated images in and out: every frame, for as long as the file says, and how often all are shown."""

import struct
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from video import pictures
from video.clips import Blend, av, leftovers, panning, read, seconds, write
from vinr_engine.errors import SourceError, UsageError
from vinr_engine.video.io.animation_files import is_animation, timing
from vinr_engine.video.io.animation_source import AnimationSource
from vinr_engine.video.io.inputs import open_source, source_kind
from vinr_engine.video.io.reading import STOP, Reading
from vinr_engine.video.io.source import Faults
from vinr_engine.video.render import upscale

FRAMES = panning(5, 32, 24, step=3)
SHOWN = [100, 200, 100, 100, 300]
LOSSLESS = {".webp": {"lossless": True}, ".avif": {"quality": 100, "subsampling": "4:4:4"}}


def animation(path, frames=FRAMES, shown=SHOWN, **options):
    """An animated image of frames [h, w, 3 or 4], each shown for so many thousandths of a second."""
    images = [Image.fromarray(frame) for frame in frames]
    form = {".apng": "PNG"}.get(path.suffix, path.suffix[1:].upper())
    options = {"loop": 0, **LOSSLESS.get(path.suffix, {}), **options}
    if form == "AVIF":
        options.pop("loop")
    images[0].save(path, form, save_all=True, append_images=images[1:], duration=shown, **options)
    return path


def shown(path):
    """The (pictures, milliseconds) of an animation as Pillow reads it, and its loops."""
    with Image.open(path) as image:
        found = []
        for n in range(image.n_frames):
            image.seek(n)
            found.append((np.asarray(image.convert("RGB")), round(image.info["duration"])))
        return found, image.info.get("loop")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".apng", ".webp", ".avif"])
def test_every_frame_is_read_for_as_long_as_it_is_shown(tmp_path, suffix):
    path = animation(tmp_path / f"in{suffix}")
    assert source_kind(str(path)) == "animation"
    found = list(AnimationSource(path, Reading(on_error=STOP)).pictures())
    assert [p.duration * 1000 for p in found] == SHOWN
    assert [p.time * 1000 for p in found] == [0, 100, 300, 400, 500]
    for picture, frame in zip(found, FRAMES, strict=True):
        error = np.abs(picture.rgb.transpose(1, 2, 0) * 255 - frame)
        assert error.mean() < {".gif": 5, ".avif": 2}.get(suffix, 1e-3)
    done = upscale(path, tmp_path / "o.mkv", space=1, time=2, model=Blend(), codec="ffv1")
    assert (done.frames_in, done.frames_out, done.rate) == (5, 10, Fraction(100, 8))
    with av.open(str(tmp_path / "o.mkv")) as container:
        assert [round(p.pts * p.time_base * 1000) for p in container.demux(video=0) if p.size] == [
            0, 50, 100, 200, 300, 350, 400, 450, 500, 650,
        ]  # fmt: skip
    assert list(AnimationSource(path, Reading(start=Fraction(1, 10), end=Fraction(1, 2))).pictures())[
        -1
    ].time == Fraction(4, 10)
    with pytest.raises(SourceError, match="lies in the chosen range"):
        AnimationSource(path, Reading(start=Fraction(2)))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_entering_gives_the_same_pictures(tmp_path, suffix):
    source = AnimationSource(animation(tmp_path / f"in{suffix}"), Reading())
    whole = list(source.pictures())
    for n, picture in enumerate(whole):
        assert [p.rgb.tobytes() for p in source.pictures(picture.time)] == [p.rgb.tobytes() for p in whole[n:]]


def test_rates_of_animated_png_are_exact(tmp_path):
    """A delay is a fraction there, which thousandths of a second would round."""
    data = animation(tmp_path / "in.png", shown=[40] * 5).read_bytes()
    parts = []
    for name, content in chunks_of(data):
        if name == b"fcTL":
            content = content[:20] + struct.pack(">HH", 1001, 30000) + content[24:]
        parts.append(pictures.chunk(name, content))
    (tmp_path / "in.png").write_bytes(data[:8] + b"".join(parts))
    assert AnimationSource(tmp_path / "in.png", Reading()).info.rate == Fraction(30000, 1001)
    upscale(tmp_path / "in.png", tmp_path / "o.apng", space=1, time=2, model=Blend())
    assert set(timing((tmp_path / "o.apng").read_bytes()).durations) == {Fraction(1001, 60000)}


def chunks_of(data):
    at = 8
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def test_sixteen_bits_of_animated_png_are_kept(tmp_path):
    deep = [frame.astype("u2") * 251 for frame in FRAMES]
    with av.open(str(tmp_path / "in.png"), "w", format="apng") as out:
        stream = out.add_stream("apng", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "rgb48be"
        for n, frame in enumerate(deep):
            picture = av.VideoFrame.from_ndarray(frame, "rgb48le")
            picture.pts = n
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    upscale(tmp_path / "in.png", tmp_path / "o.png", space=1, time=1, model=Blend(), cuts=False)
    got = [frame.to_ndarray(format="rgb48le") for frame in read(tmp_path / "o.png")]
    assert (np.stack(got[:5]) == np.stack(deep)).all()


def test_a_picture_for_programs_without_animation_is_none_of_its_frames(tmp_path):
    path = animation(tmp_path / "in.png", shown=SHOWN[:4], default_image=True)
    found = list(AnimationSource(path, Reading(on_error=STOP)).pictures())
    assert len(found) == 4
    assert np.abs(found[0].rgb.transpose(1, 2, 0) * 255 - FRAMES[1]).max() < 1e-3


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_transparent_pixels_are_laid_over_black(tmp_path, suffix):
    alpha = np.where(np.arange(32) < 9, 0, 255) * np.ones((24, 1))
    frames = [np.dstack([frame, alpha]).astype("u1") for frame in FRAMES]
    options = {} if suffix == ".webp" else {"disposal": 2}
    source = AnimationSource(animation(tmp_path / f"in{suffix}", frames, **options), Reading())
    assert "transparent pixels" in " ".join(source.info.notes)
    for picture in source.pictures():
        assert picture.rgb[:, :, :9].max() == 0
        assert picture.rgb[:, :, 9:].mean() > 0.2


def test_delays_that_are_not_meant(tmp_path):
    path = animation(tmp_path / "in.gif", shown=[0, 10, 20, 30, 40])
    source = AnimationSource(path, Reading(on_error=STOP))
    assert [p.duration * 1000 for p in source.pictures()] == [100, 100, 20, 30, 40]
    assert any("2 frames" in note and "0.1 s" in note for note in source.info.notes)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_file_that_is_cut_short_is_named(tmp_path, suffix, share):
    path = animation(tmp_path / f"in{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"is cut short|unreadable"):
        list(AnimationSource(path, Reading(on_error=STOP)).pictures())
    for on_error in ("hold", "skip"):
        source = AnimationSource(path, Reading(on_error=on_error))
        found = list(source.pictures())
        assert 1 <= len(found) < 5 or sum((p.faults for p in found), Faults()) == Faults(held=1)
        assert any("is cut short" in note for note in source.info.notes)


def test_damage_in_the_middle_is_held_or_left_out_and_counted(tmp_path):
    path = animation(
        tmp_path / "in.png", [np.random.default_rng(n).integers(0, 256, (24, 32, 3), "u1") for n in range(5)]
    )
    data = bytearray(path.read_bytes())
    place = data.index(b"fdAT", data.index(b"fdAT") + 4)
    data[place + 8 : place + 600] = bytes(592)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"unreadable frame of .* at 0\.300 s"):
        list(AnimationSource(path, Reading(on_error=STOP)).pictures())
    for on_error, frames, faults in (("hold", 5, Faults(held=3)), ("skip", 2, Faults(dropped=3))):
        found = list(AnimationSource(path, Reading(on_error=on_error)).pictures())
        assert len(found) == frames
        assert sum((p.faults for p in found), Faults()) == faults


def test_what_is_no_animation(tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.gif")
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.webp")
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.png")
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    (tmp_path / "b.webp").write_bytes(b"RIFF")
    (tmp_path / "b.png").write_bytes(b"")
    for path in tmp_path.iterdir():
        assert not is_animation(path)
        assert source_kind(str(path)) == "image"


@pytest.mark.parametrize("suffix", [".gif", ".apng", ".webp"])
@pytest.mark.parametrize("loop", [None, 0, 1, 3])
def test_an_animation_keeps_its_loops(tmp_path, suffix, loop):
    if loop is None and suffix != ".gif":
        return  # there it is always said
    path = animation(tmp_path / f"in{suffix}", loop=loop)
    upscale(path, tmp_path / f"o{suffix}", space=1, time=1, model=Blend())
    assert shown(tmp_path / f"o{suffix}")[1] == shown(path)[1] == loop


@pytest.mark.parametrize("suffix", [".gif", ".apng", ".webp", ".png"])
def test_an_animation_is_written_with_its_times(tmp_path, suffix):
    path = animation(tmp_path / "in.png")
    upscale(path, tmp_path / f"o{suffix}", space=2, time=2, model=Blend())
    found, _ = shown(tmp_path / f"o{suffix}")
    assert [ms for _, ms in found] == [50, 50, 100, 100, 50, 50, 50, 50, 150, 150]
    reference = tmp_path / "reference"
    upscale(path, reference, space=2, time=2, model=Blend())
    for n, picture in enumerate(sorted(reference.iterdir())):
        error = np.abs(found[n][0].astype(int) - np.asarray(Image.open(picture)))
        assert error.mean() < (0.01 if "png" in suffix else 3)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "fps", "match"),
    [("o.gif", 30, "units of 0.01 s"), ("o.webp", 30, "units of 0.001 s"), ("o.apng", 120, "--fps 50")],
)
def test_what_a_rate_comes_to_is_said(tmp_path, name, fps, match):
    path = animation(tmp_path / "in.png", shown=[200] * 5)
    notes = []
    upscale(path, tmp_path / name, space=1, fps=fps, model=Blend(), note=notes.append)
    assert [match in note for note in notes] == [True]
    times = timing((tmp_path / name).read_bytes()).durations
    assert len(times) == fps
    unit = Fraction(1, 100 if "gif" in name else 1000)
    assert abs(sum(times) - 1) <= unit  # rounding does not add up
    notes.clear()
    upscale(path, tmp_path / f"default{name}", space=1, model=Blend(), note=notes.append)
    assert set(timing((tmp_path / f"default{name}").read_bytes()).durations) == {Fraction(1, 50)}
    assert notes == []


def test_what_animations_cannot_be(tmp_path):
    path = animation(tmp_path / "in.png")
    with pytest.raises(UsageError, match="GIF shows at most 50 pictures a second, and 60 are asked for: --fps 50"):
        upscale(path, tmp_path / "o.gif", space=1, fps=60, model=Blend())
    with pytest.raises(UsageError, match="WebP has at most 16383 pixels a side"):
        upscale(path, tmp_path / "o.webp", size=(16384, 8), model=Blend())
    clip = write(tmp_path / "in.mp4", panning(2))
    for name in ("o.png", "o.jpg", "o.exr"):
        with pytest.raises(UsageError, match=rf"{name} is one image, and the input is a clip: .*o_%06d.*\.apng"):
            upscale(clip, tmp_path / name, space=1, model=Blend())
    for options in ({"codec": "gif"}, {"crf": 3}):
        with pytest.raises(UsageError, match="--codec and --crf are for a video output"):
            upscale(path, tmp_path / "o.gif", model=Blend(), **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "in.png"]


def test_long_pictures_and_colours_of_gifs(tmp_path):
    """A gradient of more than 256 colours comes out near, and a picture may be shown for minutes."""
    path = animation(tmp_path / "in.png", shown=[60_000, 40, 300_000, 40, 40])
    upscale(path, tmp_path / "o.gif", space=4, time=1, model=Blend(), cuts=False)
    found, _ = shown(tmp_path / "o.gif")
    assert [ms for _, ms in found] == [60_000, 40, 300_000, 40, 40]
    assert len(np.unique(found[0][0].reshape(-1, 3), axis=0)) > 100


def test_a_video_becomes_an_animation(tmp_path):
    clip = write(tmp_path / "in.mp4", panning(4), rate=10)
    upscale(clip, tmp_path / "o.webp", space=1, time=2, model=Blend())
    found, loop = shown(tmp_path / "o.webp")
    assert [ms for _, ms in found] == [50] * 8
    assert loop == 0
    assert seconds(read(clip))[-1] == Fraction(3, 10)


def test_a_profile_goes_into_the_animation(tmp_path):
    path = animation(tmp_path / "in.png", icc_profile=pictures.profile())
    for name in ("o.apng", "o.webp"):
        upscale(path, tmp_path / name, space=1, time=1, model=Blend())
        with Image.open(tmp_path / name) as image:
            assert image.info["icc_profile"] == pictures.profile()
    notes = []
    upscale(path, tmp_path / "o.gif", space=1, time=1, model=Blend(), note=notes.append)
    assert notes == ["left out: ICC profile"]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif"])
def test_whatever_is_wrong_with_a_file_is_one_error(tmp_path, suffix):
    path = animation(tmp_path / f"in{suffix}")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(4):
            data[rng.integers(0, min(len(data), rng.choice([60, 400, 10**6])))] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data)
        for on_error in ("stop", "hold"):
            try:
                source = open_source(str(path), Reading(on_error=on_error))
                if source.info.width * source.info.height < 1 << 20:
                    list(islice(source.pictures(), 20))
            except SourceError as error:
                refused.append(str(error))
    assert refused
    assert not any("\n" in text for text in refused)


def test_a_gif_that_is_shown_more_often_than_it_can_say_does_not_run_for_ever(tmp_path):
    path = animation(tmp_path / "in.apng", loop=65537)
    upscale(path, tmp_path / "o.gif", space=1, time=1, model=Blend())
    assert shown(tmp_path / "o.gif")[1] == 65535
