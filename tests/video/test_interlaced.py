"""Interlaced video is made whole, frame for frame, wherever its file is entered."""

from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, av, panning, write
from video.test_resume import Dies, Killed, contents
from video.test_timestamps import found
from vinr_engine.video.io.deinterlace import Deinterlacer
from vinr_engine.video.io.moments import Shown
from vinr_engine.video.io.reading import Reading
from vinr_engine.video.io.source import Faults
from vinr_engine.video.io.video_source import VideoSource
from vinr_engine.video.render import upscale

FIELDS = {"crf": "1", "x264-params": "interlaced=1", "g": "6"}


def marked(picture, order, pixel_format="yuv420p"):
    """A frame that says which field is the first (tff, bff) or that it is progressive (prog)."""
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull()


def woven(count, width=64, height=48, order="tff"):
    """Frames whose second field is half a frame later, as a camera makes them; and the first fields' pictures.

    In grey, as chroma of 4:2:0 is made of rows of both fields here.
    """
    pictures = [p.mean(2, keepdims=True).repeat(3, 2).astype("u1") for p in panning(2 * count, width, height, step=3)]
    first, second = (slice(0, None, 2), slice(1, None, 2)) if order == "tff" else (slice(1, None, 2), slice(0, None, 2))
    frames = []
    for n in range(count):
        frame = np.empty_like(pictures[0])
        frame[first], frame[second] = pictures[2 * n][first], pictures[2 * n + 1][second]
        frames.append(frame)
    return frames, pictures[::2]


def apart(source, pictures, **reading):
    """How far the frames of a file are from these pictures, each."""
    with VideoSource(source, Reading(**reading)) as opened:
        return [
            float(np.abs(found.rgb.transpose(1, 2, 0) * 255 - wanted).mean())
            for found, wanted in zip(opened.pictures(), pictures, strict=True)
        ]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("in.mkv", "libx264", FIELDS), ("in.ts", "libx264", FIELDS),
     ("in.mpg", "mpeg2video", {"qscale": "1", "flags": "+ildct+ilme", "bf": "2"})],
)  # fmt: skip
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_become_frames(tmp_path, name, codec, options, order):
    frames, first = woven(14, order=order)
    frames = [marked(frame, order) for frame in frames]
    path = write(tmp_path / name, frames, rate=25, codec=codec, options=options)
    times, _, faults, notes = found(path)
    assert (len(times), faults) == (14, Faults())
    assert notes == [
        "the video is interlaced: its fields are made whole frames (--no-deinterlace takes them as they are)"
    ]
    whole, combed = apart(path, first), apart(path, first, deinterlace=False)
    assert np.mean(whole) < 0.8 * np.mean(combed)


def test_it_can_be_turned_off(tmp_path):
    path = write(tmp_path / "in.mkv", woven(6)[0], options=FIELDS)
    notes = []
    upscale(path, tmp_path / "o.mkv", space=1, time=1, model=Blend(), deinterlace=False, note=notes.append)
    assert notes == ["the video is interlaced; its fields are taken as whole frames"]
    frames, _ = woven(6)
    assert np.mean(apart(path, frames, deinterlace=False)) < 0.5 * np.mean(apart(path, frames))


def test_progressive_video_is_left_alone(tmp_path):
    path = write(tmp_path / "in.mkv", woven(6)[0], options={"crf": "1"})
    with VideoSource(path) as one, VideoSource(path, Reading(deinterlace=False)) as other:
        for a, b in zip(one.pictures(), other.pictures(), strict=True):
            assert np.array_equal(a.rgb, b.rgb)
            assert a.notes == ()


@pytest.mark.parametrize("name", ["in.mkv", "in.ts"])
def test_a_run_on_interlaced_video_is_taken_up(tmp_path, name):
    path = write(tmp_path / name, woven(45)[0], options=FIELDS)
    options = {"space": 1, "time": 2, "segment": 7}
    upscale(path, tmp_path / "whole.mkv", model=Blend(), **options)
    for at in (38, 62, 81):
        notes = []
        with pytest.raises(Killed):
            upscale(path, tmp_path / "o.mkv", model=Dies(at), overwrite=True, **options)
        assert upscale(path, tmp_path / "o.mkv", model=Blend(), overwrite=True, note=notes.append, **options).resumed
        assert not any("from its beginning" in note for note in notes)
        assert contents(tmp_path / "o.mkv") == contents(tmp_path / "whole.mkv")


def decoded(kinds, width=64, height=48, pixel_format="yuv420p"):
    """Frames, those that are interlaced where ``kinds`` says "i", progressive where "p"; None for "-"."""
    frames = []
    for kind, picture in zip(kinds, woven(len(kinds), width, height)[0], strict=True):
        frame = marked(picture, "tff" if kind == "i" else "prog", pixel_format)
        frames.append(None if kind == "-" else frame)
    assert [f is not None and bool(f.interlaced_frame) for f in frames] == [kind == "i" for kind in kinds]
    return frames


def passed(frames):
    return list(Deinterlacer().of(Shown(n, 1, frame) for n, frame in enumerate(frames)))


def test_each_frame_stays_in_its_place():
    frames = decoded("ppiii-ippppppii-pi")
    out = passed(frames)
    assert [shown.time for shown in out] == list(range(len(frames)))
    for shown, frame in zip(out, frames, strict=True):
        assert (shown.frame is None) == (frame is None)
        if frame is not None:
            same = np.array_equal(shown.frame.to_ndarray(), frame.to_ndarray())
            assert same == (("interlaced", "") not in shown.remarks)


def test_a_frame_depends_on_its_neighbours_alone():
    frames = decoded("ipppppiiippppppii")
    whole = passed(frames)
    for begin in range(1, len(frames) - 2):
        for shown, other in zip(passed(frames[begin - 1 :])[1:], whole[begin:], strict=True):
            assert np.array_equal(shown.frame.to_ndarray(), other.frame.to_ndarray())


def test_a_change_of_size_and_odd_heights():
    frames = decoded("iii") + decoded("iii", 48, 35, "yuv444p") + decoded("ii", 48, 2)
    out = passed(frames)
    assert [(s.frame.width, s.frame.height) for s in out] == [(f.width, f.height) for f in frames]
    assert [bool(shown.remarks) for shown in out] == [True] * 6 + [False] * 2
