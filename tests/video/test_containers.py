"""Every container holds the same pictures at the same times, with sound that is in time."""

import os
from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, av, panning, read, seconds, write
from video.rich import Sound, later, onset, remuxed, rich, streams
from vinr_engine.errors import SinkError
from vinr_engine.video.io import said
from vinr_engine.video.io.containers import CONTAINERS
from vinr_engine.video.render import upscale


def run(source, target, **options):
    """(the summary, the notes)"""
    notes = []
    options = {"space": 1, "time": 1, "model": Blend(), **options}
    return upscale(source, target, note=notes.append, **options), notes


@pytest.mark.parametrize("suffix", [s for s in CONTAINERS if s not in (".gif", ".webp", ".apng")])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le", "mp2"])
def test_pictures_and_sound(tmp_path, suffix, codec):
    source = rich(tmp_path / "in.mkv", sounds=[Sound(codec, {"language": "ger"}, begin=0.7)], tags={"title": "T"})
    done, notes = run(source, tmp_path / f"out{suffix}", time=3, segment=25)
    frames = read(tmp_path / f"out{suffix}")
    assert done.frames_out == len(frames) == 60
    times = seconds(frames)
    assert all(abs(t - Fraction(n, 30)) <= Fraction(1, 1000) for n, t in enumerate(times))
    given = read(source)
    for n in (0, 7, 19):
        a, b = (np.asarray(f.to_image()).astype(int) for f in (given[n], frames[3 * n]))
        assert np.abs(a - b).mean() < 3
    assert onset(tmp_path / f"out{suffix}") == pytest.approx(onset(source), abs=0.03 if suffix == ".avi" else 0.006)
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        assert {k.lower(): v for k, v in out.metadata.items()}["title"] == "T"
        assert abs(out.streams.video[0].average_rate - 30) < Fraction(1, 10)
    assert all("converted" in note or "language of audio" in note for note in notes)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "huffyuv", "ffv1", "utvideo"])
def test_avi_has_no_reordered_pictures(tmp_path, codec):
    source = write(tmp_path / "in.mp4", panning(20))
    run(source, tmp_path / "out.avi", codec=codec, segment=7)
    with av.open(str(tmp_path / "out.avi")) as out:
        stamps = [p.dts for p in out.demux(video=0) if p.size]
    assert stamps == list(range(20))
    assert seconds(read(tmp_path / "out.avi")) == [Fraction(n, 10) for n in range(20)]


def test_avi_places_pictures_of_varying_times_at_its_rate_and_says_so(tmp_path):
    source = write(tmp_path / "in.mkv", panning(6), stamps=[0, 100, 200, 400, 500, 600])
    done, notes = run(source, tmp_path / "out.avi", fps=None)
    times = seconds(read(tmp_path / "out.avi"))
    assert done.frames_out == len(times) == 6
    assert all(
        abs(a - b) <= 1 / done.rate
        for a, b in zip(times, map(Fraction, ("0", "0.1", "0.2", "0.4", "0.5", "0.6")), strict=True)
    )
    assert [note for note in notes if note.startswith(".avi has one rate")]


def test_sound_that_begins_late_is_in_time_in_avi(tmp_path):
    source = rich(tmp_path / "in.mkv", 30, sounds=[Sound("mp2", begin=1.5)])
    late = remuxed(source, tmp_path / "late.mkv", lambda p: p.stream.type == "video" or p.pts * p.time_base > 1)
    done, notes = run(late, tmp_path / "out.avi")
    assert notes == ["converted: audio 1 (mp2) to mp3 (its gaps become silence)"]
    assert onset(tmp_path / "out.avi") == pytest.approx(1.5, abs=0.06)


def test_sound_before_the_picture_does_not_shift_avi(tmp_path):
    source = rich(tmp_path / "in.mkv", 30, sounds=[Sound("mp2", begin=1.5)])
    late = remuxed(source, tmp_path / "late.mkv", later(500))
    assert onset(late) == pytest.approx(1.0, abs=0.01)
    for suffix in (".avi", ".mov", ".mp4"):
        run(late, tmp_path / f"out{suffix}")
        assert onset(tmp_path / f"out{suffix}") == pytest.approx(1.0, abs=0.06)


def test_hevc_has_the_mark_that_players_ask_for(tmp_path):
    source = write(tmp_path / "in.mp4", panning(3, 64, 64))
    for suffix in ("mp4", "mov"):
        run(source, tmp_path / f"out.{suffix}", codec="libx265", segment=2)
        with av.open(str(tmp_path / f"out.{suffix}")) as out:
            assert out.streams.video[0].codec_context.codec_tag == "hvc1"
        assert len(read(tmp_path / f"out.{suffix}")) == 3


def test_gaps_in_sound_stay_where_it_is_converted(tmp_path):
    source = rich(tmp_path / "in.mkv", 40, sounds=[Sound("flac", begin=3)])
    holed = remuxed(
        source, tmp_path / "holed.mkv", lambda p: not (p.stream.type == "audio" and 1 < p.pts * p.time_base < 2)
    )
    for suffix in ("mkv", "webm", "mp4", "avi"):
        run(holed, tmp_path / f"out.{suffix}", audio="auto" if suffix in ("webm", "avi") else "aac")
        assert onset(tmp_path / f"out.{suffix}") == pytest.approx(3, abs=0.06)
        assert streams(tmp_path / f"out.{suffix}")[1].codec != "flac" or suffix == "avi"


def test_sound_that_overlaps_is_counted_where_it_is_converted(tmp_path):
    source = rich(tmp_path / "in.mkv", 40, sounds=[Sound("flac", begin=3)])

    def change(packet):
        if packet.stream.type == "audio" and packet.pts * packet.time_base < 2:
            packet.pts += 300
        return True

    back = remuxed(source, tmp_path / "back.mkv", change)
    _, notes = run(back, tmp_path / "out.mkv", audio="aac")
    assert "left out, as it overlaps with other sound: 0.3 s of audio 1" in notes
    assert onset(tmp_path / "out.mkv") == pytest.approx(3, abs=0.06)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_units_of_time_that_an_encoder_does_not_have(tmp_path, suffix):
    source = write(tmp_path / "in.mp4", panning(4), rate=Fraction(24000, 1001))
    run(source, tmp_path / f"out.{suffix}", time=8, codec="mpeg4")
    assert seconds(read(tmp_path / f"out.{suffix}")) == [Fraction(1001 * n, 192000) for n in range(32)]


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(8, 9), Fraction(16, 11)])
@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "mkv"), ("ffv1", "mkv"), ("prores_ks", "mov"), ("libvpx-vp9", "webm"), ("libsvtav1", "webm"),
     ("mpeg4", "avi"),
     ("libvpx-vp9", "mp4"), ("huffyuv", "mkv")],
)  # fmt: skip
def test_the_shape_of_pixels_is_kept(tmp_path, codec, suffix, aspect):
    source = rich(
        tmp_path / "in.mp4", 12, sounds=[Sound("aac", {"language": "ger"}), Sound("aac")], tags={"title": "T"},
        chapters=[(0, 0.5, "One"), (0.5, 1, "Two")], size=(88, 72), aspect=aspect,
    )  # fmt: skip
    _, notes = run(source, tmp_path / f"out.{suffix}", codec=codec, segment=5)
    with av.open(str(tmp_path / f"out.{suffix}")) as out:
        assert out.streams.video[0].sample_aspect_ratio == pytest.approx(aspect, abs=0.01)
        assert len(out.streams.audio) == 2
        assert {k.lower(): v for k, v in out.metadata.items()}["title"] == "T"
        assert len(out.chapters()) == (0 if suffix == "avi" else 2)
        if suffix in ("mkv", "webm"):
            assert out.streams.audio[0].language == "ger"
            out.seek(600_000)
            assert next(out.decode(video=0)).time >= 0.4
    assert len(read(tmp_path / f"out.{suffix}")) == 12
    assert not [note for note in notes if "shape" in note]


def test_a_shape_that_an_output_cannot_say_is_named(tmp_path):
    source = write(tmp_path / "in.mp4", panning(3), aspect=Fraction(4, 3))
    _, notes = run(source, tmp_path / "out.avi", codec="huffyuv")
    assert notes == ["left out: the shape of pixels (4/3): the picture will look too wide or too narrow"]


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler") or os.geteuid() != 0, reason="SVT-AV1 does it as root alone")
def test_no_thread_gets_the_priority_of_real_time(tmp_path):
    """SVT-AV1 would take it for all of them, and starve whatever else runs."""

    def policies():
        return {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}

    assert policies() == {os.SCHED_OTHER}
    with said.ordinary_threads():
        context = av.CodecContext.create("libsvtav1", "w")
        context.width, context.height, context.pix_fmt, context.time_base = 64, 64, "yuv420p", Fraction(1, 25)
        context.open()
        assert os.SCHED_FIFO in policies()
    assert policies() == {os.SCHED_OTHER}
    source = write(tmp_path / "in.mkv", panning(12, 64, 64), codec="ffv1", options={"level": "3"})
    seen = set()

    def look(done, total):
        if done == total:  # the encoder has been open for long
            seen.update(policies())

    upscale(source, tmp_path / "o.webm", space=1, time=2, model=Blend(), codec="libsvtav1", progress=look)
    assert seen == policies() == {os.SCHED_OTHER}


@pytest.mark.parametrize("segment", [3, 4])
def test_a_gap_between_segments_is_one_as_well(tmp_path, segment):
    source = write(tmp_path / "in.mkv", panning(6), stamps=[0, 100, 200, 500, 600, 700], codec="ffv1", options={})
    notes = []
    upscale(source, tmp_path / "o.avi", space=1, time=1, model=Blend(), segment=segment, note=notes.append)
    assert any("has one rate" in note for note in notes)


@pytest.mark.parametrize("gap", [999, 1001, 3599])
def test_a_picture_may_stand_for_an_hour_in_avi(tmp_path, gap):
    """FFmpeg's muxer refuses to leave out so many pictures at once."""
    source = rich(tmp_path / "in.mp4", 20, rate=60, gap=gap)
    run(source, tmp_path / "out.avi", time=1)
    times = seconds(read(tmp_path / "out.avi"))
    assert times == [Fraction(n, 60) + (gap if n >= 10 else 0) for n in range(20)]


@pytest.mark.parametrize("audio", ["auto", "aac"])
def test_sound_of_few_samples_is_in_time_in_avi(tmp_path, audio):
    """As in films of old phones: an encoder of sound is as many samples late at any rate."""
    source = rich(
        tmp_path / "in.3gp", 20, sounds=[Sound("libopencore_amrnb", begin=1, rate=8000)], codec="mpeg4", size=(176, 144)
    )
    run(source, tmp_path / "out.avi", audio=audio)
    assert onset(tmp_path / "out.avi") == pytest.approx(onset(source), abs=0.04)


def test_more_pictures_a_second_than_avi_counts_are_refused_before_any_work(tmp_path):
    source = write(tmp_path / "in.mp4", panning(4), rate=240)
    run(source, tmp_path / "out.avi", time=4)
    assert len(read(tmp_path / "out.avi")) == 16
    model = Blend()
    with pytest.raises(SinkError, match="shows at most 1000 pictures a second, and 1920 are asked for: --fps 1000"):
        run(source, tmp_path / "more.avi", time=8, model=model)
    assert model.frames == 0


def test_sound_before_the_picture_that_avi_does_not_hold_is_named(tmp_path):
    source = rich(tmp_path / "in.mkv", 30, sounds=[Sound("mp2"), Sound("aac")])
    late = remuxed(source, tmp_path / "late.mkv", later(2000))
    _, notes = run(late, tmp_path / "out.avi")
    assert notes == ["left out, as it comes before the first picture: 2.0 s of audio 1, 2.0 s of audio 2"]
    for name, path in (("in.mkv", "out.avi"), ("late.mkv", "out.mkv")):
        assert run(tmp_path / name, tmp_path / path, overwrite=True)[1] == []
