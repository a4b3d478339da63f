"""What a file holds beside the picture reaches the output, or is named."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from video.clips import Blend, av, samples
from video.rich import Sound, Text, later, onset, remuxed, rich, streams, words
from vinr_engine.errors import UsageError
from vinr_engine.video.io.carried import CONVERTED, COPIED, LEFT_OUT
from vinr_engine.video.render import upscale

FLAG = {flag.name: int(flag) for flag in av.stream.Disposition}
FONT = bytes(range(256)) * 3


def run(source, target, **options):
    """(the summary, the notes)"""
    notes = []
    options = {"space": 1, "time": 1, "model": Blend(), **options}
    return upscale(source, target, note=notes.append, **options), notes


def full(path, **options):
    """A file with some of everything."""
    return rich(
        path,
        sounds=[
            Sound("aac", {"language": "eng", "title": "Director"}, FLAG["comment"]),
            Sound("aac", {"language": "jpn"}, FLAG["default"]),
            Sound("flac", {"language": "ger"}, FLAG["hearing_impaired"]),
        ],
        texts=[
            Text("subrip", tags={"language": "eng", "title": "Signs"}, flags=FLAG["forced"]),
            Text("ass", tags={"language": "ger"}, flags=FLAG["default"]),
        ],
        tags={"title": "Holiday", "date": "2019-05-04", "comment": "with friends", "artist": "me"},
        chapters=[(0, 0.4, "One"), (0.4, 2, "Two")],
        attachments=[("f.ttf", "font/ttf", FONT)],
        flags=FLAG["default"],
        picture_tags={"title": "Main", "language": "fre"},
        **options,
    )


def test_everything_from_mkv_to_mkv(tmp_path):
    source = full(tmp_path / "in.mkv")
    done, notes = run(source, tmp_path / "out.mkv", time=2)
    before, after = streams(source), streams(tmp_path / "out.mkv")
    assert [(s.kind, s.codec) for s in after] == [(s.kind, s.codec) for s in before]
    for a, b in zip(before, after, strict=True):
        assert a.flags == b.flags
        for name in ("title", "language", "filename", "mimetype"):
            assert a.tags.get(name) == b.tags.get(name)
    for a, b in zip(before[1:], after[1:], strict=True):
        assert a.packets == b.packets
    with av.open(str(tmp_path / "out.mkv")) as out, av.open(str(source)) as given:
        names = {name.lower(): value for name, value in out.metadata.items()}
        assert {n: names[n] for n in ("title", "date", "comment", "artist")} == {
            "title": "Holiday", "date": "2019-05-04", "comment": "with friends", "artist": "me"
        }  # fmt: skip
        assert [(c["start"], c["end"], c["metadata"]) for c in out.chapters()] == [
            (c["start"], c["end"], c["metadata"]) for c in given.chapters()
        ]
        assert [a.data for a in out.streams.attachments] == [FONT]
    assert notes == []
    assert {c.became for c in done.streams} == {COPIED}
    assert [c.kind for c in done.streams] == ["audio"] * 3 + ["subtitle"] * 2 + ["attachment"]
    assert done.left_out == ()
    assert set(done.kept) == {"tag title", "tag date", "tag comment", "tag artist", "chapters"}


def test_everything_from_mkv_to_mp4(tmp_path):
    source = full(tmp_path / "in.mkv")
    done, notes = run(source, tmp_path / "out.mp4")
    after = streams(tmp_path / "out.mp4")
    assert [(s.kind, s.codec) for s in after] == [
        ("video", "h264"), ("audio", "aac"), ("audio", "aac"), ("audio", "flac"),
        ("subtitle", "mov_text"), ("subtitle", "mov_text"),
    ]  # fmt: skip
    assert [s.tags["language"] for s in after] == ["fre", "eng", "jpn", "ger", "eng", "ger"]
    assert [bool(s.flags & FLAG["default"]) for s in after] == [True, False, True, False, False, True]
    assert words(tmp_path / "out.mp4", 0) == words(source, 0)
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert {n: out.metadata[n] for n in ("title", "date", "comment", "artist")} == {
            "title": "Holiday", "date": "2019-05-04", "comment": "with friends", "artist": "me"
        }  # fmt: skip
        assert [c["metadata"]["title"] for c in out.chapters()] == ["One", "Two"]
    assert [c.became for c in done.streams] == [COPIED] * 3 + [CONVERTED] * 2 + [LEFT_OUT]
    assert len(notes) == 2
    assert notes[0] == "converted: subtitle 4 (subrip, eng) to mov_text, subtitle 5 (ass, ger) to mov_text"
    assert notes[1].startswith("left out: attachment 6 (.mp4 does not hold it)")


def test_what_a_container_does_not_keep_of_tags_and_flags_is_named(tmp_path):
    source = rich(
        tmp_path / "in.mkv",
        sounds=[Sound(flags=FLAG["original"], tags={"mood": "gay"})],
        tags={"title": "kept", "recipe": "salt"},
    )
    done, notes = run(source, tmp_path / "out.mp4")
    assert {"tag recipe", "mood of audio 1", "flag original of audio 1"} <= set(done.left_out)
    assert done.kept == ("tag title",)
    assert len(notes) == 1
    for name in done.left_out:
        assert name in notes[0]
    again, notes = run(source, tmp_path / "out.mkv")
    assert "tag recipe" in again.kept
    assert again.left_out == ()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_default_track_stays(tmp_path, suffix):
    source = rich(
        tmp_path / "in.mp4",
        sounds=[Sound(tags={"language": "eng"}), Sound(tags={"language": "jpn"}, flags=FLAG["default"])],
    )
    run(source, tmp_path / f"out.{suffix}")
    after = streams(tmp_path / f"out.{suffix}")[1:]
    assert [(s.tags["language"], s.flags) for s in after] == [("eng", 0), ("jpn", FLAG["default"])]


@pytest.mark.parametrize(
    ("codec", "muxer"),
    [
        ("wmav2", "asf"),
        ("adpcm_ms", "avi"),
        ("pcm_mulaw", "avi"),
        ("pcm_s16le", "avi"),
        ("pcm_mulaw", "mov"),
        ("mp2", "mpegts"),
        ("ac3", "avi"),
    ],
)
def test_what_ffmpeg_muxes_is_copied(tmp_path, codec, muxer):
    source = rich(tmp_path / f"in.{muxer}", sounds=[Sound(codec, rate=44100)], muxer=muxer)
    done, notes = run(source, tmp_path / "out.mkv")
    before, after = streams(source)[1], streams(tmp_path / "out.mkv")[1]
    assert (after.codec, after.kind) == (codec, "audio")
    assert [p[2] for p in after.packets] == [p[2] for p in before.packets]
    assert [c.became for c in done.streams] == [COPIED]
    assert notes == []
    assert np.array_equal(samples(source), samples(tmp_path / "out.mkv"))


def test_aac_of_transport_streams_goes_into_mp4(tmp_path):
    source = rich(tmp_path / "in.ts", sounds=[Sound(begin=0.5)], muxer="mpegts")
    done, notes = run(source, tmp_path / "out.mp4")
    assert [c.became for c in done.streams] == [COPIED]
    assert notes == []
    assert onset(tmp_path / "out.mp4") == pytest.approx(onset(source), abs=0.002)


@pytest.mark.parametrize(
    ("codec", "suffix", "expected"),
    [("wmav2", "mp4", "aac"), ("pcm_s16le", "mp4", "pcm_s16le"), ("aac", "webm", "opus"), ("flac", "webm", "opus"),
     ("pcm_mulaw", "mp4", "aac"), ("mp2", "webm", "opus")],
)  # fmt: skip
def test_sound_that_does_not_fit_is_converted_and_in_time(tmp_path, codec, suffix, expected):
    source = rich(tmp_path / "in.mkv", sounds=[Sound(codec, {"language": "jpn"}, FLAG["default"], 0.7, rate=44100)],
                  muxer="asf" if codec == "wmav2" else "mov" if codec == "pcm_mulaw" else "matroska")  # fmt: skip
    done, notes = run(source, tmp_path / f"out.{suffix}")
    after = streams(tmp_path / f"out.{suffix}")[1]
    assert after.codec == expected
    assert onset(tmp_path / f"out.{suffix}") == pytest.approx(0.7, abs=0.01)
    if expected != codec:
        assert [(c.became, c.to) for c in done.streams] == [(CONVERTED, expected)]
        assert len(notes) == 1
        assert notes[0].startswith(f"converted: audio 1 ({codec}")


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1(side)", "5.1", "7.1"])
@pytest.mark.parametrize("choice", ["aac", "opus", "flac"])
def test_sound_is_converted_on_request(tmp_path, choice, layout):
    source = rich(tmp_path / "in.mkv", sounds=[Sound("flac", begin=0.7, layout=layout, rate=44100)])
    done, _ = run(source, tmp_path / "out.mkv", audio=choice)
    assert done.streams[0].became == (COPIED if choice == "flac" else CONVERTED)
    assert streams(tmp_path / "out.mkv")[1].codec == choice
    with av.open(str(tmp_path / "out.mkv")) as out, av.open(str(source)) as given:
        assert out.streams.audio[0].layout.nb_channels == given.streams.audio[0].layout.nb_channels
    if layout in ("mono", "stereo"):
        assert onset(tmp_path / "out.mkv") == pytest.approx(onset(source), abs=0.005)


def test_audio_copy_and_none(tmp_path):
    source = rich(tmp_path / "in.mkv", sounds=[Sound("aac", {"language": "eng"}), Sound("libopus")], texts=[Text()])
    done, notes = run(source, tmp_path / "a.webm", audio="copy")
    assert [s.codec for s in streams(tmp_path / "a.webm")] == ["vp9", "opus", "webvtt"]
    assert done.streams[0].became == LEFT_OUT
    assert "left out: audio 1 (aac, eng) (.webm does not hold it)" in notes
    done, notes = run(source, tmp_path / "b.mkv", audio="none")
    assert [s.kind for s in streams(tmp_path / "b.mkv")] == ["video", "subtitle"]
    assert done.audio_streams == 0
    assert notes == []  # it was asked for
    with pytest.raises(UsageError, match="--audio must be auto, copy"):
        run(source, tmp_path / "c.mkv", audio="mp9")


def test_images_have_no_sound_and_it_is_said(tmp_path):
    source = rich(tmp_path / "in.mkv", sounds=[Sound()], tags={"title": "x"}, chapters=[(0, 1, "a")])
    done, notes = run(source, tmp_path / "out")
    assert [c.became for c in done.streams] == [LEFT_OUT]
    assert notes == ["left out: audio 1 (aac) (the output holds pictures alone); tag title, chapters"]


def test_cover_pictures(tmp_path):
    Image.new("RGB", (20, 30), (200, 10, 10)).save(tmp_path / "cover.png")
    source = rich(tmp_path / "in.mp4", sounds=[Sound()], cover=tmp_path / "cover.png")
    run(source, tmp_path / "out.mp4")
    cover = streams(tmp_path / "out.mp4")[2]
    assert cover.flags & FLAG["attached_pic"]
    assert cover.packets[0][2] == (tmp_path / "cover.png").read_bytes()
    run(source, tmp_path / "out.mkv")
    cover = streams(tmp_path / "out.mkv")[2]
    assert (cover.kind, cover.codec, cover.tags["filename"]) == ("video", "png", "cover.png")
    assert cover.flags & FLAG["attached_pic"]
    run(tmp_path / "out.mkv", tmp_path / "back.mp4")
    assert streams(tmp_path / "back.mp4")[2].packets[0][2] == (tmp_path / "cover.png").read_bytes()
    done, notes = run(source, tmp_path / "out.webm")
    assert done.streams[1].became == LEFT_OUT
    assert "video 2 (png) (.webm does not hold it)" in notes[1]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_part_of_the_clip(tmp_path, suffix):
    lines = (0.1, 0.4, "Before"), (0.5, 1.4, "Into"), (1.5, 2.0, "Within"), (2.8, 3.5, "Out"), (3.2, 3.4, "After")
    source = rich(
        tmp_path / "in.mkv", 40,
        sounds=[Sound("aac"), Sound("flac", begin=1.6)],
        texts=[Text("subrip", lines)],
        chapters=[(0, 0.8, "One"), (0.8, 1.5, "Two"), (1.5, 2.5, "Three"), (2.5, 4, "Four")],
    )  # fmt: skip
    target = tmp_path / f"out.{suffix}"
    done, notes = run(source, target, start=1, end=3)
    assert done.frames_out == 20
    assert words(target) == [(0, 0.4, "Into"), (0.5, 1.0, "Within"), (1.8, 2.0, "Out")]
    with av.open(str(target)) as out:
        begin = next(f.pts * f.time_base for f in out.decode(video=0))
        times = [[float(c[key] * c["time_base"] - begin) for key in ("start", "end")] for c in out.chapters()]
        titles = [c["metadata"]["title"] for c in out.chapters()]
    assert titles == ["Two", "Three", "Four"]
    assert times == [pytest.approx(pair, abs=0.03) for pair in ([0, 0.5], [0.5, 1.5], [1.5, 2])]
    assert onset(target, 1) == pytest.approx(0.6, abs=0.005)
    assert not notes or suffix == "mp4"


def test_subtitles_and_chapters_keep_their_time_where_the_sound_begins_earlier(tmp_path):
    """The picture begins late: its first frame is the output's time 0 only after what the sound has before it."""
    source = rich(
        tmp_path / "in.mkv", sounds=[Sound("flac", begin=0.9)], texts=[Text()], chapters=[(0.5, 1, "A"), (1, 2, "B")]
    )
    late = remuxed(source, tmp_path / "late.mkv", later(300))
    run(late, tmp_path / "out.mkv")
    assert onset(tmp_path / "out.mkv") == pytest.approx(0.6, abs=0.01)
    assert words(tmp_path / "out.mkv") == words(late) == [(-0.1, 0.3, "Hello"), (0.7, 1.1, "World")]
    with av.open(str(tmp_path / "out.mkv")) as out, av.open(str(late)) as given:
        assert [c["start"] for c in out.chapters()] == [c["start"] for c in given.chapters()]


def test_other_pictures_are_named(tmp_path):
    one = rich(tmp_path / "one.mkv", sounds=[Sound()])
    two = tmp_path / "two.mkv"
    with av.open(str(one)) as a, av.open(str(one)) as b, av.open(str(two), "w") as out:
        streams_ = [out.add_stream_from_template(s, opaque=True) for s in (*a.streams, b.streams.video[0])]
        for given, targets in ((a, streams_), (b, [streams_[2], None])):
            for packet in given.demux():
                if packet.dts is not None and targets[packet.stream.index] is not None:
                    packet.stream = targets[packet.stream.index]
                    out.mux(packet)
    done, notes = run(two, tmp_path / "out.mkv")
    assert [(c.kind, c.became) for c in done.streams] == [("audio", COPIED), ("video", LEFT_OUT)]
    assert notes == ["left out: video 2 (h264) (another one is enlarged)"]


def test_decoding_times_of_sound_that_do_not_rise_are_no_error(tmp_path):
    source = rich(tmp_path / "in.mkv", 40, sounds=[Sound("flac")])
    bad = tmp_path / "bad.nut"
    with av.open(str(source)) as given, av.open(str(bad), "w") as out:
        pairs = {s.index: out.add_stream_from_template(s, opaque=True) for s in given.streams}
        held = []
        for n, packet in enumerate(p for p in given.demux() if p.dts is not None):
            packet.stream = pairs[packet.stream.index]
            if packet.stream.type == "audio" and n % 7 == 3:
                packet.pts = packet.dts = max(0, packet.pts - 40)
            held.append(packet)
        last = {}
        for packet in held:
            packet.dts = packet.pts = max(packet.pts, last.get(packet.stream.index, 0))
            last[packet.stream.index] = packet.pts
            out.mux(packet)
    for suffix in ("mp4", "mkv"):
        done, _ = run(bad, tmp_path / f"out.{suffix}")
        assert done.frames_out == 40
        assert len(streams(tmp_path / f"out.{suffix}")[1].packets) == len(streams(bad)[1].packets)


def test_a_resumed_run_carries_the_same(tmp_path):
    from video.test_resume import Dies, Killed, coded

    source = full(tmp_path / "in.mkv")
    run(source, tmp_path / "whole.webm", segment=5)
    with pytest.raises(Killed):
        run(source, tmp_path / "out.webm", segment=5, model=Dies(12))
    done, notes = run(source, tmp_path / "out.webm", segment=5)
    assert done.resumed == 10
    assert coded(tmp_path / "out.webm") == coded(tmp_path / "whole.webm")


def with_packets(path, source, name, muxer=None, data=bytes(range(1, 60)), times=(300, 600), length=100):
    """The file with one stream more, of packets of that content at these times in thousandths of a second."""
    with av.open(str(source)) as given, av.open(str(path), "w", format=muxer) as out:
        pairs = {s.index: out.add_stream_from_template(s, opaque=True) for s in given.streams}
        extra = out.add_data_stream(name) if name in ("klv", "timed_id3") else out.add_mux_stream(name)
        extra.time_base, extra.metadata["language"] = Fraction(1, 1000), "eng"
        packets = [p for p in given.demux() if p.dts is not None]
        for packet in packets:
            packet.stream = pairs[packet.stream.index]
        for n, at in enumerate(times):
            packet = av.Packet(data[n] if isinstance(data, list) else data)
            packet.pts = packet.dts = at
            packet.duration, packet.time_base, packet.stream = length, Fraction(1, 1000), extra
            packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "muxer", "takes"),
    [("dvd_subtitle", "matroska", "mkv mp4"), ("dvb_subtitle", "mpegts", "mkv"), ("klv", "mpegts", "mov"),
     ("timed_id3", "mpegts", "")],
)  # fmt: skip
def test_subtitles_of_pictures_and_data_go_where_they_fit_and_are_named_elsewhere(tmp_path, name, muxer, takes):
    source = with_packets(tmp_path / "in", rich(tmp_path / "plain.mkv", sounds=[Sound()]), name, muxer)
    for suffix in ("mkv", "mp4", "webm", "mov", "avi"):
        done, notes = run(source, tmp_path / f"out.{suffix}")
        carried = done.streams[1]
        assert (carried.index, carried.codec) == (2, name)
        assert (carried.became == COPIED) == (suffix in takes.split())
        assert done.audio_streams == 1
        if carried.became == COPIED:
            before, after = streams(source)[2], streams(tmp_path / f"out.{suffix}")[2]
            assert [p[2] for p in before.packets if len(p[2]) > 20] == [p[2] for p in after.packets if len(p[2]) > 20]
            first = [next(at for at, _, data in s.packets if len(data) > 20) for s in (before, after)]
            assert first[0] == pytest.approx(float(first[1]), abs=0.002)
        else:
            assert [note for note in notes if note.startswith("left out") and f"2 ({name}" in note]


def test_a_timecode_is_kept_or_named(tmp_path):
    source = rich(tmp_path / "in.mov", sounds=[Sound()], picture_tags={"timecode": "01:00:00:00"})
    for suffix in ("mov", "mp4", "mkv"):
        done, notes = run(source, tmp_path / f"out.{suffix}", time=4)
        tags = {k.lower(): v for k, v in streams(tmp_path / f"out.{suffix}")[0].tags.items()}
        assert tags["timecode"].startswith("01:00:00:0")
        assert done.left_out == ()
    done, notes = run(source, tmp_path / "part.mov", start="0.5")
    assert done.left_out == ("timecode",)
    assert notes == ["left out: timecode"]


@pytest.mark.parametrize("codec", ["subrip", "ass"])
def test_subtitles_that_overlap_are_shown_together_in_mp4(tmp_path, codec):
    lines = (0.2, 2.0, "Long"), (0.5, 1.0, "Short"), (0.7, 1.5, "Third"), (2.0, 2.4, "Next"), (2.6, 9, "End")
    source = rich(tmp_path / "in.mkv", 30, texts=[Text(codec, lines)])
    run(source, tmp_path / "out.mp4")
    assert words(tmp_path / "out.mp4") == [
        (0.2, 0.5, "Long"), (0.5, 0.7, "Long\nShort"), (0.7, 1.0, "Long\nShort\nThird"), (1.0, 1.5, "Long\nThird"),
        (1.5, 2.0, "Long"), (2.0, 2.4, "Next"), (2.6, 9.0, "End"),
    ]  # fmt: skip
    run(source, tmp_path / "part.mp4", start=0.6, end=2.2)
    assert words(tmp_path / "part.mp4")[-1] == (1.4, 1.6, "Next")


@pytest.mark.parametrize(
    ("start", "expected"),
    [(None, [(0, 1), (0.5, 2), (1, 3), (2.5, 4)]), (0.2, [(0, 1), (0.3, 2), (0.8, 3), (2.3, 4)]),
     (1, [(0, 3), (1.5, 4)]), (2, [(0, 3), (0.5, 4)]), (2.8, [(0, 4)])],
)  # fmt: skip
def test_subtitles_that_are_shown_until_the_next_one_begin_with_the_part(tmp_path, start, expected):
    """Those of Blu-rays say no duration. One at time 0, its end, another one and its end."""
    data = [struct.pack(">BHHHBHIBH", 0x16, 11, 48, 32, 16, n, 0x80000000, 0x80, 0) for n in (1, 2, 3, 4)]
    plain = rich(tmp_path / "plain.mkv", 30)
    times = (0, 500, 1000, 2500)
    source = with_packets(tmp_path / "in.mkv", plain, "hdmv_pgs_subtitle", "matroska", data, times, 0)
    run(source, tmp_path / "out.mkv", start=start)
    found = streams(tmp_path / "out.mkv")[1].packets
    assert [(round(float(at), 2), packet[9]) for at, _, packet in found] == expected


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_chapter_may_be_a_place_alone(tmp_path, suffix):
    """As the last one of a disc often is."""
    chapters = [(0, 1, "One"), (1, 1, "Here"), (1.2, 2, "Two"), (2, 2, "End")]
    source = rich(tmp_path / "in.mkv", chapters=chapters)
    for part, expected in ({}, "One Here Two End"), ({"start": 1}, "Here Two End"), ({"start": 1.1}, "Two End"), (
        {"end": 2}, "One Here Two"
    ):  # fmt: skip
        run(source, tmp_path / f"out.{suffix}", overwrite=True, **part)
        with av.open(str(tmp_path / f"out.{suffix}")) as out:
            assert " ".join(c["metadata"]["title"] for c in out.chapters()) == expected


def test_alpha_of_webm_is_named_and_not_claimed(tmp_path):
    """Its decoder gives pictures without it."""
    source = rich(
        tmp_path / "in.webm", 3, codec="libvpx-vp9", pixel_format="yuva420p", picture_tags={"alpha_mode": "1"}
    )
    for suffix in ("webm", "mkv", "mp4"):
        done, notes = run(source, tmp_path / f"out.{suffix}")
        assert notes == ["the video's alpha channel is ignored"]
        assert done.left_out == ()
        assert "alpha_mode" not in {name.lower() for name in streams(tmp_path / f"out.{suffix}")[0].tags}


def test_letters_of_tags_that_are_lost_are_named(tmp_path):
    """Old files have tags in the code of their time and place."""
    source = rich(tmp_path / "in.avi", 3, codec="mpeg4", tags={"title": "QQQQQ", "artist": "me"})
    source.write_bytes(source.read_bytes().replace(b"QQQQQ", b"caf\xe9!"))
    done, notes = run(source, tmp_path / "out.mkv")
    assert notes == ["left out: letters of title"]
    assert done.left_out == ("letters of title",)
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert out.metadata["title"] == "caf\N{REPLACEMENT CHARACTER}!"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_track_that_holds_nothing_is_named(tmp_path, suffix):
    source = rich(tmp_path / "in.mkv", sounds=[Sound(), Sound()])
    hollow = remuxed(source, tmp_path / "hollow.mkv", lambda packet: packet.stream.index != 2)
    _, notes = run(hollow, tmp_path / f"out.{suffix}")
    assert notes == ["there was nothing to carry of audio 2: the output may lack it"]
    assert run(source, tmp_path / f"whole.{suffix}")[1] == []
